"""Where the tests of the rendezvous meet: tasks in threads over real sockets, and strangers that know the port."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from launcher.contract.context import TaskContext
from launcher.contract.version import own_version
from launcher.errors import LauncherError
from launcher.host.ports import free_ports
from launcher.rundir import RunFiles
from launcher.runtime.checkpoint.files import CheckpointFiles
from launcher.runtime.checkpoint.saved import Saved
from launcher.runtime.rendezvous.leader import Leader
from launcher.runtime.rendezvous.meeting import Meeting, meeting
from launcher.runtime.rendezvous.member import Member
from launcher.runtime.rendezvous.proof import Handshake
from tests.unit.runtime.conftest import task_context
from tests.unit.runtime.rendezvous.histories import SYNC, TOKEN

PATIENCE = 20.0  # seconds that nothing here takes
PREPARE = json.dumps({"prepare": {"step": 0}}).encode() + b"\n"
GO = PREPARE + b'{"go": true}\n'
Result = TypeVar("Result")
Given = ParamSpec("Given")


class Over(LauncherError):
    """The test is over; whoever still waits stops."""


class Stranger:
    """A connection that says what it likes."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self._lines = self.socket.makefile("rb")

    def say(self, data: bytes | dict[str, Any]) -> None:
        self.socket.sendall(data if isinstance(data, bytes) else (json.dumps(data) + "\n").encode())

    def hear(self) -> dict[str, Any]:
        """The next message; empty if the other side has closed."""
        message: dict[str, Any] = json.loads(self._lines.readline() or b"{}")
        return message

    def hear_until(self, word: str) -> dict[str, Any]:
        while message := self.hear():
            if word in message:
                return message
        raise AssertionError(f"{word!r} was never said")

    def hear_all(self) -> list[dict[str, Any]]:
        """What is said until the other side closes."""
        return list(iter(self.hear, {}))

    def take(self, count: int) -> bytes:
        return self._lines.read(count)

    def prepare(self) -> dict[str, Any]:
        """Say that this one is prepared when it is asked; return what was offered."""
        offer: dict[str, Any] = self.hear_until("prepare")["prepare"]
        self.say({"prepared": True})
        return offer

    def end(self) -> None:
        """Say that nothing more will be said."""
        self.socket.shutdown(socket.SHUT_WR)

    def vanish(self) -> None:
        """Break the connection, as the kernel does for a process that is killed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._lines.close()
        self.socket.close()


class Place:
    """A port to meet at, and threads for the tasks, each of which has a run directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.port = free_ports(1)[0]
        self.leader = "worker:0"
        self.said: queue.Queue[list[str]] = queue.Queue()  # who the leader waits for
        self.lost: queue.Queue[LauncherError] = queue.Queue()  # why a task that watches was told to leave
        self._directory = directory
        self._over = False
        self._opened: list[socket.socket] = []
        self._meetings: list[Future[Meeting]] = []
        self._threads: list[threading.Thread] = []

    def context(self, task: str, **changes: Any) -> TaskContext:
        own: dict[str, Any] = {"run_directory": str(self._directory / task), "token": TOKEN, "cluster": SYNC}
        return task_context(task, **(own | {"rendezvous": f"127.0.0.1:{self.port}"} | changes))

    def files(self, task: str) -> CheckpointFiles:
        return CheckpointFiles(RunFiles(self._directory / task).checkpoints)

    def start(self, function: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Future[Result]:
        """Call a function in a thread of its own."""
        future: Future[Result] = Future()

        def run() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001  # the test decides what it means
                future.set_exception(error)

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()
        return future

    def send(
        self,
        task: str,
        seconds: float = PATIENCE,
        tell: Callable[[Collection[str]], None] = lambda _: None,
        **changes: Any,
    ) -> Future[Meeting]:
        """Let the task come to the meeting, for so many seconds."""
        context = self.context(task, **changes)
        self.leader = str(context.leader)

        def waiting(missing: Collection[str]) -> None:
            if self._over:
                raise Over
            if context.is_leader:
                self.said.put(list(missing))
            tell(missing)

        future = self.start(meeting(context, time.monotonic() + seconds, waiting).__enter__)
        self._meetings.append(future)
        return future

    def wait_until_missing(self, *names: str) -> None:
        """Wait until the leader says that it waits for exactly these; what it said before does not count."""
        while not self.said.empty():
            self.said.get()
        self.said.get(timeout=PATIENCE)  # it was perhaps just saying it
        while self.said.get(timeout=PATIENCE) != list(names):
            pass

    def stranger(self) -> Stranger:
        """A connection to the leader, as soon as it listens."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return Stranger(self.keep(socket.create_connection(("127.0.0.1", self.port))))
            except ConnectionRefusedError:
                assert time.monotonic() < until
                time.sleep(0.01)

    def keep(self, connection: socket.socket) -> socket.socket:
        """Close the connection when the test is over."""
        self._opened.append(connection)
        return connection

    def member(self, task: str, key: str = TOKEN) -> Stranger:
        """A stranger that introduces itself as this task would."""
        stranger = self.stranger()
        stranger.say({"task": task, "nonce": "the member's number"} | own_version())
        answer = stranger.hear()
        handshake = Handshake(key, self.leader, task, "the member's number", answer["nonce"])
        stranger.say({"proof": handshake.member_proof()})
        return stranger

    def led(self, **changes: Any) -> tuple[Leader, Stranger, Stranger]:
        """A leader that has met two strangers, and watches."""
        first, *others = map(str, self.context("worker:0", **changes).members)
        future = self.send(first, **changes)
        strangers = [self.member(name) for name in others]
        go(*strangers)
        leader = result(future)
        assert isinstance(leader, Leader)
        leader.watch(self.lost.put)
        return leader, strangers[0], strangers[1]

    def formed(self, **changes: Any) -> tuple[Meeting, Meeting, Meeting]:
        """Let three tasks meet, the leader first."""
        first, second, third = [self.send(str(task), **changes) for task in self.context("worker:0", **changes).members]
        return result(first), result(second), result(third)

    def finish(self, *meetings: Meeting, stopped: bool = False) -> list[Future[None]]:
        """Let tasks that watch say that they have finished."""
        for each in meetings:
            each.watch(self.lost.put)
        return [self.start(each.finish, stopped=stopped) for each in meetings]

    def loss(self) -> LauncherError:
        """Why the first task that watches was told to leave."""
        return self.lost.get(timeout=PATIENCE)

    def clear(self) -> None:
        """End all that the test has left."""
        self._over = True
        for connection in self._opened:
            connection.close()
        for future in self._meetings:
            if future.done() and not future.exception():
                end(future.result())
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)


class Answering:
    """What listens where worker:0 should, and says what it likes to worker:1."""

    def __init__(self, place: Place, server: socket.socket) -> None:
        self._place, self._server = place, server
        self.hello: dict[str, Any] = {}  # what the member said first
        self.proven = False  # whether it then proved that it has the key

    def come(self, **changes: Any) -> Future[Meeting]:
        """Let worker:1 come."""
        return self._place.send("worker:1", **changes)

    def accept(self, *said: bytes, key: str = TOKEN, says_hello: bool = True) -> Stranger:
        """Take the member's next connection, answer its hello as its leader would, and say this."""
        connection, _ = self._server.accept()
        leader = Stranger(self._place.keep(connection))
        if says_hello:
            self.hello = leader.hear()
            number = "the leader's number"
            handshake = Handshake(key, "worker:0", self.hello["task"], self.hello["nonce"], number)
            leader.say({"nonce": number, "proof": handshake.leader_proof()} | own_version())
            self.proven = handshake.is_member(leader.hear())
        leader.say(b"".join(said))
        return leader

    def met(self, *said: bytes) -> tuple[Member, Stranger]:
        """A member that has met a leader which says this after the go."""
        future = self.come()
        leader = self.accept(GO, *said)
        member = result(future)
        assert isinstance(member, Member)
        return member, leader


def result(future: Future[Result]) -> Result:
    return future.result(timeout=PATIENCE)


def go(*members: Stranger) -> None:
    """Let the members that are still missing get prepared, and all hear the go."""
    for member in members:
        member.prepare()
    for member in members:
        member.hear_until("go")


def close(leader: Stranger) -> None:
    """Close the connection as a leader that has said all."""
    leader.end()
    leader.hear_all()


def end(meeting: Meeting) -> None:
    """Break the task's connections at once, as the kernel does when its process ends."""
    if isinstance(meeting, Leader):
        meeting._met.close()
    elif isinstance(meeting, Member):
        with contextlib.suppress(OSError):
            meeting._met._wire._socket.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def block(meeting: Meeting) -> Iterator[None]:
    """The rest of the block of a task that has met."""
    with contextlib.ExitStack() as stack:
        stack.push(meeting)
        yield


def save(files: CheckpointFiles, step: int, **content: bytes) -> Saved:
    """Write a checkpoint of these files."""
    with files.writing(step) as beside:
        for name, data in content.items():
            (beside / name).write_bytes(data)
    return files.at(step)


def prepare(offer: dict[str, Any]) -> bytes:
    return json.dumps({"prepare": offer}).encode() + b"\n"
