"""``python -m launcher.engines.local.spawner``: the process that owns every task of one launcher.

The launcher talks to it over a socket. A task is forked from a fork server, which has imported TensorFlow, if the
request says so and it is possible; otherwise it is a new process, which imports TensorFlow itself. When the socket
closes, for whatever reason (``kill -9`` of the launcher included), everything that was ever started below here is
killed: tasks, their groups, and grandchildren that left their group, which the kernel hands to this process because it
is a subreaper.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from launcher.contract.requests import receive_request
from launcher.engines.local.descendants import children, ended_child, kill_descendants
from launcher.engines.local.fork_server import CannotForkError, ForkServer
from launcher.engines.local.network.settled import Network, led, settle
from launcher.engines.local.network.way_out import WayOut
from launcher.engines.local.warm import accept

_PR_SET_CHILD_SUBREAPER = 36
_NOTHING = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)  # for the launcher alone to decide


class Spawner:
    """Starts processes, signals their groups, and says how they ended."""

    def __init__(self, network: Network, way_out: WayOut | None, *, keeps_warm: bool) -> None:
        """``network`` is what each launcher is told first, and ``way_out`` its way to the outside.

        ``keeps_warm``: the fork server, and what is a child of this process now, outlive a launcher.
        """
        self.network, self._way_out = network, way_out
        self._launcher: socket.socket
        self._keeps_warm, self._keepers = keeps_warm, children() if keeps_warm else frozenset()
        self._scratch: Sequence[str] = ()  # directories of the run, which go with it
        self._unsaid = bytearray()  # what the launcher has not taken yet
        self._tasks: dict[int, str] = {}  # pid, which is also the group → name
        self._fork_server: ForkServer | None = None
        self._waiting: list[_Start] = []  # for the fork server to have imported
        self._never_forks = False  # since that has failed
        self._selector = selectors.DefaultSelector()
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.setblocking(False)
        self._woken = woken
        self._wake = wake
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno())
        self._selector.register(woken, selectors.EVENT_READ, self._reap)
        if way_out:
            self._selector.register(way_out.connection, selectors.EVENT_READ, self._cut_off)

    def serve(self, launcher: socket.socket) -> None:
        """Serve a launcher until it goes; nothing that was started for it is left then."""
        self._launcher, kept, self._scratch = launcher, [], []
        self._unsaid.clear()
        self._selector.register(launcher, selectors.EVENT_READ, lambda: kept.extend(self._request()))
        try:
            while True:
                for key, mask in self._selector.select():
                    if mask & selectors.EVENT_WRITE:
                        self._pass_on()
                    if mask & selectors.EVENT_READ and key.fileobj in self._selector.get_map():
                        key.data()
        except (EOFError, OSError):
            pass  # the launcher has gone, one way or the other
        finally:
            self._selector.unregister(launcher)
            self._end_tasks()
            for directory in self._scratch:  # of a launcher that was killed: any other has removed its own
                shutil.rmtree(directory, ignore_errors=True)
            for descriptor in kept:
                os.close(descriptor)

    def _end_tasks(self) -> None:
        for start in self._waiting:
            start.close()
        self._waiting.clear()
        self._tasks.clear()
        kill_descendants(but=self._lasting if self._keeps_warm and self.is_warm else frozenset())

    @property
    def _lasting(self) -> frozenset[int]:
        """The processes that the next run needs as well."""
        return self._keepers | ({self._fork_server.pid} if self._fork_server else set())

    @property
    def is_warm(self) -> bool:
        """Whether the next task could be forked at once."""
        return self._fork_server is not None and self._fork_server.is_ready

    def _request(self) -> list[int]:
        """Do what the launcher asks for; return the files that it wants to be open until its last task has ended."""
        request, descriptors = receive_request(self._launcher)
        if "keep" in request:
            self._say(network=asdict(self.network))
            return descriptors
        if "ping" in request:
            self._say(pong=True)
        elif "scratch" in request:
            self._scratch = request["scratch"]
        elif "leave" in request:
            self._end_tasks()
            self._scratch = []
            _let_go_of_the_screen()
            self._say(left=True)
        elif "start" in request:
            start = _Start(request, descriptors)
            if request["fork"] and not self._never_forks:
                self._fork(start)
            else:
                self._spawn(start)
        else:
            self._signal(request["kill"], request["signal"], alone=request.get("alone", False))
        return []

    def _signal(self, name: str, number: int, *, alone: bool) -> None:
        # By name: the launcher may not have heard the number yet.
        for pid in [pid for pid, task in self._tasks.items() if task == name]:
            _kill(pid, number, alone=alone)
            if number == signal.SIGTERM:  # which a task that another signal has stopped takes only then
                _kill(pid, signal.SIGCONT)
        if number in (signal.SIGTERM, signal.SIGKILL):
            for start in [start for start in self._waiting if start.name == name]:
                self._waiting.remove(start)
                start.close()
                self._say(exited=name, code=-number, time_ns=time.time_ns())

    def _cut_off(self) -> None:
        """Take in that the network has lost its way out."""
        assert self._way_out, "only what is registered is called"
        self._selector.unregister(self._way_out.connection)
        self.network = led(self.network, self._way_out.heard())
        self._way_out.abandon()
        self._say(closed=self.network.closed)

    # Starting

    def _fork(self, start: _Start) -> None:
        """Fork a task, now or as soon as the fork server has imported; spawn it if that is impossible."""
        self._waiting.append(start)
        environment, keras = start.request["environment"], start.request["keras"]
        if self._fork_server and not self._fork_server.fits(environment, keras=keras):
            self._drop_fork_server()  # of a run before this one
        try:
            if self._fork_server is None:
                self._fork_server = ForkServer(environment, keras=keras)
                self._selector.register(self._fork_server.connection, selectors.EVENT_READ, self._imported)
            elif self._fork_server.is_ready:
                self._fork_waiting(self._fork_server)
                return
            self._say(imports=start.name)
        except (CannotForkError, OSError) as error:
            self._spawn_instead(str(error))

    def _imported(self) -> None:
        assert self._fork_server, "only what is registered is called"
        if self._fork_server.is_ready:  # it has nothing to say unasked: it has ended, and the next task needs another
            self._drop_fork_server()
            return
        try:
            self._fork_server.imported()
            self._fork_waiting(self._fork_server)
        except CannotForkError as error:
            self._spawn_instead(str(error))

    def _fork_waiting(self, server: ForkServer) -> None:
        while self._waiting:
            start = self._waiting[0]
            self._started(start, server.fork(start.forked, start.descriptors))
            self._waiting.pop(0)

    def _spawn_instead(self, why: str) -> None:
        self._drop_fork_server()
        self._never_forks = True
        self._say(spawns=why)
        while self._waiting:
            self._spawn(self._waiting.pop(0))

    def _drop_fork_server(self) -> None:
        if self._fork_server:
            self._selector.unregister(self._fork_server.connection)
            self._fork_server.close()
            self._fork_server = None

    def _spawn(self, start: _Start) -> None:
        try:
            pid = start.spawn()
        except OSError as error:
            start.close()
            why = f"its process could not be started: {error.strerror}"
            self._say(exited=start.name, code=1, time_ns=time.time_ns(), why=why)
        else:
            self._started(start, pid)

    def _started(self, start: _Start, pid: int) -> None:
        start.close()
        self._tasks[pid] = start.name
        self._say(started=start.name, pid=pid)

    # Ends

    def _reap(self) -> None:
        self._woken.recv(4096)
        while (pid := ended_child()) is not None:
            task = self._tasks.pop(pid, None)
            if task is not None:
                # Before the leader is reaped, while its number cannot belong to another group.
                _kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if task is not None:
                self._say(exited=task, pid=pid, code=os.waitstatus_to_exitcode(status), time_ns=time.time_ns())

    def _say(self, **message: Any) -> None:
        """Say something to the launcher, which may be in the middle of saying something itself."""
        self._unsaid += (json.dumps(message) + "\n").encode()
        self._pass_on()

    def _pass_on(self) -> None:
        with suppress(BlockingIOError):
            del self._unsaid[: self._launcher.send(self._unsaid, socket.MSG_DONTWAIT)]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsaid else 0)
        self._selector.modify(self._launcher, events, self._selector.get_key(self._launcher).data)


@dataclass
class _Start:
    """A request to start a task, with its open files: for what it prints."""

    request: Mapping[str, Any]
    descriptors: Sequence[int]

    @property
    def name(self) -> str:
        return str(self.request["start"])

    @property
    def forked(self) -> Mapping[str, Any]:
        """What the fork server is asked for."""
        return {"environment": self.request["environment"], "into": [[1, 2]]}

    def spawn(self) -> int:
        """Start it as a new process."""
        (output,) = self.descriptors
        return os.posix_spawn(
            self.request["argv"][0],
            self.request["argv"],
            self.request["environment"],
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigdef=_NOTHING,
        )

    def close(self) -> None:
        """Close the files, which are the task's alone now."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def _kill(group: int, number: int, *, alone: bool = False) -> None:
    """Signal a whole group, or only its first process."""
    # If it ended in the meantime, its end is on the way to the launcher.
    with suppress(ProcessLookupError):
        os.kill(group, number) if alone else os.killpg(group, number)


def _let_go_of_the_screen() -> None:
    # Whoever reads what the launcher prints, through a pipe, waits until everyone has closed it.
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        os.dup2(nothing, number)
    os.close(nothing)


def main() -> None:
    """Serve the launcher, whose socket has the number that the first argument is, in the network of the second.

    The third is for how many seconds, if any, to wait for another launcher of the kind that the fourth names.
    """
    number, network, seconds, kind = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]
    for ignored in _NOTHING:
        signal.signal(ignored, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    spawner, launcher = Spawner(*settle(network), keeps_warm=seconds > 0), socket.socket(fileno=number)
    os.set_inheritable(number, False)
    while True:
        with launcher:
            spawner.serve(launcher)
        following = accept(kind, seconds) if seconds and spawner.is_warm else None
        if following is None:
            return
        launcher = following


if __name__ == "__main__":
    main()
