"""Leader and members, each in a thread of its own, over real sockets; and strangers that know the port."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from launcher.cluster.context import Task, TaskContext
from launcher.cluster.inventory import free_ports
from launcher.errors import FormationError, LauncherError
from launcher.runtime import rendezvous
from launcher.runtime.rendezvous import Alone, Leader, LeaderLost, Meeting, Member, meet
from launcher.supervise.network import held_ports
from tests.unit.runtime.conftest import task_context

PATIENCE = 20.0  # seconds that nothing here takes
Result = TypeVar("Result")
TOKEN = "the token of this run"
SYNC = {"worker": ("a:1", "b:1", "c:1")}
ASYNC = {"chief": ("a:1",), "worker": ("b:1",), "ps": ("c:1",)}


class Stranger:
    """A connection that says what it likes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._lines = self.socket.makefile("rb")

    def say(self, data: bytes | dict[str, Any]) -> None:
        self.socket.sendall(data if isinstance(data, bytes) else (json.dumps(data) + "\n").encode())

    def hear(self) -> dict[str, Any]:
        """The next message; empty where the other side has closed."""
        message: dict[str, Any] = json.loads(self._lines.readline() or b"{}")
        return message

    def hear_until(self, word: str) -> dict[str, Any]:
        while message := self.hear():
            if word in message:
                return message
        raise AssertionError(f"{word!r} was never said")

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def vanish(self) -> None:
        """Break the connection, as the kernel does for a process that is killed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._lines.close()
        self.socket.close()


class Place:
    """A port to meet at, and threads for the tasks."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.port = free_ports(1)[0]
        self.listening = threading.Event()
        self.said: queue.Queue[list[str]] = queue.Queue()  # who the leader waits for
        self.opened: list[Any] = []
        self._threads = threads

    def context(self, task: str, **changes: Any) -> TaskContext:
        address = {"cluster": SYNC, "rendezvous": f"127.0.0.1:{self.port}", "token": TOKEN}
        return task_context(task, **(address | changes))

    def send(
        self,
        task: str,
        seconds: float = PATIENCE,
        tell: Callable[[Collection[str]], None] | None = None,
        **changes: Any,
    ) -> Future[Meeting]:
        """Let the task come to the meeting, for so many seconds."""
        context = self.context(task, **changes)
        says = tell or (self._say if context.is_leader else lambda _: None)
        return self._threads.submit(meet, context, time.monotonic() + seconds, says)

    def _say(self, missing: Collection[str]) -> None:
        self.said.put(list(missing))

    def wait_until_missing(self, *names: str) -> None:
        """Wait until the leader says that it waits for exactly these."""
        while self.said.get(timeout=PATIENCE) != list(names):
            pass

    def stranger(self) -> Stranger:
        """A connection to the leader, as soon as it listens."""
        assert self.listening.wait(PATIENCE)
        stranger = Stranger(self.port)
        self.opened.append(stranger.socket)
        return stranger

    def member(self, task: str) -> Stranger:
        """A stranger that says hello as this task would."""
        stranger = self.stranger()
        stranger.say({"task": task, "token": TOKEN})
        return stranger

    def part(self, *meetings: Meeting) -> list[Future[None]]:
        return [self._threads.submit(meeting.part) for meeting in meetings]

    def formed(self, **changes: Any) -> tuple[Meeting, Meeting, Meeting]:
        """Let three tasks meet, the leader first."""
        members = self.context("worker:0", **changes).members
        first, second, third = [self.send(str(task), **changes) for task in members]
        return result(first), result(second), result(third)


def result(future: Future[Result]) -> Result:
    return future.result(timeout=PATIENCE)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    threads = ThreadPoolExecutor(8)
    place, listen = Place(threads), Leader._listen
    servers: list[socketserver.ThreadingTCPServer] = []

    def watched(leader: Leader) -> socketserver.ThreadingTCPServer:
        server = listen(leader)
        servers.append(server)
        monkeypatch.setattr(server, "serve_forever", partial(server.serve_forever, poll_interval=0.01))
        place.listening.set()
        return server

    monkeypatch.setattr(Leader, "_listen", watched)
    monkeypatch.setattr(rendezvous, "_SAY_EVERY", 0.01)
    monkeypatch.setattr(rendezvous, "_TELL_EVERY", 0.01)
    yield place
    threads.shutdown(wait=False, cancel_futures=True)
    for server in servers:
        server.shutdown()
        server.server_close()
    for opened in place.opened:
        opened.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rendezvous' clock, which stands still until it is set."""
    now = [time.monotonic()]
    monkeypatch.setattr(rendezvous, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None))
    return now


# The beginning


def test_a_task_that_has_nobody_to_meet_does_not_wait() -> None:
    meeting = meet(task_context(), deadline=0.0, waiting=print)
    assert isinstance(meeting, Alone)
    meeting.part()
    meeting.wait_for_end()


def test_all_meet_when_the_leader_comes_first(place: Place) -> None:
    leader = place.send("worker:0")
    place.wait_until_missing("worker:1", "worker:2")
    members = [place.send("worker:2"), place.send("worker:1")]
    assert isinstance(result(leader), Leader)
    assert all(isinstance(result(member), Member) for member in members)


def test_all_meet_when_the_leader_comes_last_and_the_members_say_whom_they_wait_for(place: Place) -> None:
    said: queue.Queue[list[str]] = queue.Queue()
    members = [place.send(task, tell=lambda missing: said.put(list(missing))) for task in ("worker:1", "worker:2")]
    assert [said.get(timeout=PATIENCE) for _ in members] == [[f"worker:0 at 127.0.0.1:{place.port}"]] * 2
    leader = place.send("worker:0")
    for meeting in (leader, *members):
        result(meeting)


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback; containers often have none."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost", "[::1]", "0.0.0.0"])
def test_they_meet_wherever_the_address_says(place: Place, host: str) -> None:
    if host == "[::1]" and not has_ipv6():
        pytest.skip("no IPv6 here")
    for parted in place.part(*place.formed(rendezvous=f"{host}:{place.port}")):
        result(parted)


def test_a_hundred_members_meet(place: Place) -> None:
    cluster = {"worker": tuple(f"a:{number}" for number in range(1, 102))}
    leader = place.send("worker:0", cluster=cluster)
    members = [place.member(f"worker:{number}") for number in range(1, 101)]
    result(leader)
    for member in members:
        member.hear_until("go")


def test_the_leader_listens_on_a_port_that_the_launcher_holds(place: Place) -> None:
    with held_ports([place.port]):
        place.formed()


def test_a_leader_whose_port_is_taken_says_so(place: Place) -> None:
    sentence = f"cannot listen at the rendezvous 127.0.0.1:{place.port}: .*in use"
    with socket.create_server(("127.0.0.1", place.port)), pytest.raises(LauncherError, match=sentence):
        result(place.send("worker:0"))


def test_the_leader_names_who_is_missing(place: Place) -> None:
    place.send("worker:0", seconds=PATIENCE)
    place.wait_until_missing("worker:1", "worker:2")
    place.member("worker:1")
    place.wait_until_missing("worker:2")
    place.member("worker:2").hear_until("go")


def test_a_member_hears_who_is_missing(place: Place) -> None:
    place.send("worker:0")
    assert place.member("worker:1").hear_until("waiting") == {"waiting": ["worker:2"]}
    place.member("worker:2")


def test_a_deadline_that_has_passed_names_all_who_never_came(place: Place) -> None:
    with pytest.raises(FormationError) as caught:
        result(place.send("worker:0", seconds=0.0))
    assert str(caught.value) == ("the cluster did not form in time (run.start_timeout); missing: worker:1, worker:2")
    assert caught.value.exit_code == 3


def test_at_the_deadline_only_those_are_named_who_are_not_there(place: Place, clock: list[float]) -> None:
    leader = place.send("worker:0")
    place.member("worker:2")
    place.wait_until_missing("worker:1")
    clock[0] += PATIENCE + 1
    with pytest.raises(FormationError, match=r"missing: worker:1$"):
        result(leader)


def test_a_member_whose_leader_never_comes_names_it_and_where_it_looked(place: Place) -> None:
    with pytest.raises(FormationError) as caught:
        result(place.send("worker:1", seconds=0.05))
    assert str(caught.value).endswith(f"missing: worker:0 (nobody answers at 127.0.0.1:{place.port})")


# Who does not belong


def test_a_wrong_token_is_refused_and_does_not_count(place: Place) -> None:
    leader = place.send("worker:0")
    place.member("worker:1")
    with pytest.raises(LauncherError, match=r"^worker:0 refused: this rendezvous belongs to another run"):
        result(place.send("worker:2", token="that of another run"))
    assert not leader.done()
    place.wait_until_missing("worker:2")
    result(place.send("worker:2"))
    result(leader)


@pytest.mark.parametrize("task", ["worker:3", "ps:0", "worker:0", "worker", "", None, 1, ["worker:1"], {"a": 1}])
def test_a_task_that_is_no_member_is_refused(place: Place, task: object, capfd: pytest.CaptureFixture[str]) -> None:
    place.send("worker:0")
    stranger = place.stranger()
    stranger.say({"task": task, "token": TOKEN})
    assert stranger.hear() == {"refused": f"{task} is not a task of this cluster"}
    assert stranger.hear() == {}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\xff\xfe\n",
        b"x" * 10_000,
        b'{"task": "worker:1", "token": "' + b"x" * 10_000 + b'"}\n',
        b'{"task": "worker:1", "tok',
        b"[" * 4_000 + b"\n",
        b"[]\n",
        b"null\n",
        b'{"task": "worker:1"}\n',
        b'{"task": "worker:1", "token": null}\n',
        b'{"task": "worker:1", "token": "\\ud800"}\n',
        b'{"task": "worker:1", "token": {}}\n',
    ],
    ids=lambda said: said[:30],
)
def test_what_is_not_a_hello_neither_joins_nor_stops_the_meeting(
    place: Place, said: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    leader = place.send("worker:0")
    stranger = place.stranger()
    with contextlib.suppress(OSError):  # closed with some of what was said unread
        stranger.say(said)
        stranger.end()
        while stranger.hear():  # until the leader closes
            pass
    place.member("worker:2")
    place.wait_until_missing("worker:1")
    result(place.send("worker:1"))
    result(leader)
    assert capfd.readouterr().err == ""


def test_a_connection_that_says_nothing_is_closed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_HELLO_TIMEOUT", 0.05)
    place.send("worker:0")
    assert place.stranger().hear() == {}


def test_a_member_that_goes_is_missing_again_and_may_come_again(place: Place) -> None:
    leader = place.send("worker:0")
    first = place.member("worker:1")
    place.wait_until_missing("worker:2")
    first.vanish()
    place.wait_until_missing("worker:1", "worker:2")
    place.member("worker:2")
    place.wait_until_missing("worker:1")
    place.member("worker:1").hear_until("go")
    result(leader)


def test_the_end_of_an_old_connection_does_not_undo_a_newer_one(place: Place) -> None:
    leader = place.send("worker:0")
    old = place.member("worker:1")
    old.hear_until("waiting")
    new = place.member("worker:1")
    new.hear_until("waiting")
    old.vanish()
    other = place.member("worker:2")
    for stranger in (new, other):
        stranger.hear_until("go")
    result(leader)


# The end


def test_all_part_when_all_have_finished(place: Place) -> None:
    for parted in place.part(*place.formed()):
        result(parted)


def test_nobody_leaves_while_one_still_trains(place: Place) -> None:
    leader, member, late = place.formed()
    early = place.part(leader, member)
    with pytest.raises(TimeoutError):
        early[0].result(timeout=0.05)
    assert not early[1].done()
    for parted in [*early, *place.part(late)]:
        result(parted)


def test_who_serves_is_sent_away_without_having_finished(place: Place) -> None:
    chief, worker, ps = place.formed(mode="async", cluster=ASYNC, leader=Task("chief", 0))
    served = [threading.Thread(target=meeting.wait_for_end) for meeting in (worker, ps)]
    for thread in served:
        thread.start()
    chief.part()
    for thread in served:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_task_that_was_lost_does_not_hold_up_the_end(place: Place) -> None:
    leader = place.send("worker:0")
    lost, other = place.member("worker:1"), place.member("worker:2")
    meeting = result(leader)
    (parted,) = place.part(meeting)
    lost.vanish()
    other.hear_until("go")
    other.say({"finished": True})
    other.hear_until("end")
    other.vanish()
    result(parted)


def test_a_task_that_came_again_before_all_had_met_is_waited_for(place: Place) -> None:
    leader = place.send("worker:0")
    old = place.member("worker:1")
    old.hear_until("waiting")
    new = place.member("worker:1")
    new.hear_until("waiting")
    other = place.member("worker:2")
    (parted,) = place.part(result(leader))
    for stranger in (old, new, other):
        stranger.hear_until("go")
    old.vanish()  # as when the machine that it ran on is found to be gone
    other.say({"finished": True})
    new.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        new.hear_until("end")
    for stranger in (new, other):
        stranger.vanish()
    result(parted)


def test_a_task_that_hangs_holds_up_the_end_only_so_long(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_PART_TIMEOUT", 0.05)
    monkeypatch.setattr(rendezvous, "_HELLO_TIMEOUT", 0.05)
    leader, _, _ = place.formed()
    leader.part()


def test_who_depends_on_the_leader_hears_that_it_lives(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_ALIVE_EVERY", 0.01)
    place.send("worker:0")
    members = [place.member("worker:1"), place.member("worker:2")]
    for member in members:
        assert member.hear_until("alive") == {"alive": True}


# What a member makes of its leader


@pytest.fixture
def answer(place: Place) -> Iterator[Callable[..., Future[Meeting]]]:
    """Return a function that lets worker:1 meet a leader which says this and closes, unless it stays."""
    with socket.create_server(("127.0.0.1", place.port)) as server:
        server.settimeout(PATIENCE)

        def answer(*said: bytes, stays: bool = False, seconds: float = PATIENCE) -> Future[Meeting]:
            member = place.send("worker:1", seconds)
            connection, _ = server.accept()
            place.opened.append(connection)
            connection.recv(4096)
            connection.sendall(b"".join(said))
            if not stays:
                connection.close()
            return member

        yield answer


Answer = Callable[..., Future[Meeting]]
GO = b'{"go": true}\n'


def test_a_member_goes_when_it_is_told_to(answer: Answer) -> None:
    said = (b'{"waiting": ["worker:2"]}\n', b'{"new": "words"}\n', b"[]\n", GO)
    assert isinstance(result(answer(*said)), Member)


def test_a_member_knows_from_the_leader_who_is_missing_at_the_deadline(answer: Answer) -> None:
    with pytest.raises(FormationError, match=r"missing: worker:2, worker:3$"):
        result(answer(b'{"waiting": ["worker:2", "worker:3"]}\n', stays=True, seconds=0.0))


def test_a_leader_that_leaves_before_all_have_met_is_lost(answer: Answer) -> None:
    with pytest.raises(LeaderLost, match=r"^worker:0 left the rendezvous before all had met; missing were worker:2$"):
        result(answer(b'{"waiting": ["worker:2"]}\n'))


def test_a_leader_that_accepts_and_says_nothing_is_lost(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_HELLO_TIMEOUT", 0.05)
    with pytest.raises(LeaderLost, match=r"before all had met; missing were worker:0$"):
        result(answer(stays=True))


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xfe\n", b"[" * 4_000 + b"\n"])
def test_what_answers_in_the_leaders_place_and_is_none_is_named(answer: Answer, place: Place, said: bytes) -> None:
    with pytest.raises(LauncherError, match=f"^not worker:0 but another program answers at .*:{place.port}$"):
        result(answer(said))


def test_a_server_ends_on_the_leaders_word(answer: Answer) -> None:
    meeting = result(answer(GO, b'{"alive": true}\n', b'{"end": true}\n'))
    meeting.wait_for_end()


@pytest.mark.parametrize("last", [b"", b'{"alive": true}\n', b'{"ali', b'{"end"'])
@pytest.mark.parametrize("wait", [Member.wait_for_end, Member.part])
def test_a_leader_that_goes_without_a_word_is_lost(answer: Answer, wait: Callable[[Any], None], last: bytes) -> None:
    with pytest.raises(LeaderLost, match=r"^worker:0 went away without saying that the run is over$"):
        wait(result(answer(GO, last)))


def test_a_leader_that_falls_silent_is_lost(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_SILENCE", 0.05)
    with pytest.raises(LeaderLost):
        result(answer(GO, stays=True)).wait_for_end()
