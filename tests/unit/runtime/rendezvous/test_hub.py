"""All connections of a leader in one thread: what is read, what is written, and who may stay."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import LauncherError
from launcher.host.ports import free_ports
from launcher.runtime.rendezvous import hub as module
from launcher.runtime.rendezvous.events import Heard, Lost, Sent
from launcher.runtime.rendezvous.hub import Hub, listen
from launcher.runtime.rendezvous.messages import HELLO_LIMIT, LONGEST
from tests.unit.runtime.rendezvous.meeting import PATIENCE, Stranger

Connect = Callable[[], Stranger]
MANY = 50 << 20  # bytes, more than the kernel keeps for a connection


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def hub(port: int) -> Iterator[Hub]:
    hub = Hub(listen(f"127.0.0.1:{port}"))
    yield hub
    hub.close()


@pytest.fixture
def connect(port: int) -> Iterator[Connect]:
    """Make connections, which are closed when the test is over."""
    opened: list[socket.socket] = []

    def connect() -> Stranger:
        opened.append(socket.create_connection(("127.0.0.1", port)))
        return Stranger(opened[-1])

    yield connect
    for each in opened:
        each.close()


def happens(hub: Hub, count: int = 1) -> list[Heard | Lost | Sent]:
    """The next so many things that happen."""
    found: list[Heard | Lost | Sent] = []
    while len(found) < count:
        found += hub.poll(PATIENCE)
    return found


def quiet(hub: Hub) -> bool:
    """Whether nothing happens now, once all that is under way has arrived."""
    return not any(list(hub.poll(0.01)) for _ in range(5))


def is_closed(stranger: Stranger) -> bool:
    stranger.socket.settimeout(0.02)
    with suppress(ConnectionResetError):
        try:
            return stranger.socket.recv(1) == b""
        except TimeoutError:
            return False
    return True


# Reading


def test_each_connection_has_a_number_and_its_messages_in_order(hub: Hub, connect: Connect) -> None:
    first = connect()
    first.say(b'{"a": 1}\n{"a"')
    assert happens(hub) == [Heard(1, {"a": 1})]
    connect().say({"b": 1})
    assert happens(hub) == [Heard(2, {"b": 1})]
    first.say(b": 2}\n")
    assert happens(hub) == [Heard(1, {"a": 2})]


def test_what_was_said_before_the_end_is_heard_before_it(hub: Hub, connect: Connect) -> None:
    stranger = connect()
    stranger.say({"a": 1})
    stranger.end()
    assert happens(hub, 2) == [Heard(1, {"a": 1}), Lost(1)]


def test_what_was_said_by_who_has_gone_is_heard_although_nothing_can_be_sent_to_it(hub: Hub, connect: Connect) -> None:
    member = connect()
    member.say({"task": 1})
    happens(hub)
    hub.welcome(1)
    member.say({"failed": "no"})
    member.vanish()
    for _ in range(3):
        hub.send(1, {"alive": True})
    assert happens(hub, 2) == [Heard(1, {"failed": "no"}), Lost(1)]


@pytest.mark.parametrize("said", [b"\x16\x03\x01\x02\n", b"[" * 4000 + b"\n", b"\n", b"x" * HELLO_LIMIT])
def test_nonsense_ends_its_own_connection(
    hub: Hub, connect: Connect, said: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    member = connect()
    member.say({"task": 1})
    happens(hub)
    stranger = connect()
    stranger.say(said)
    assert happens(hub) == [Lost(2)]
    assert is_closed(stranger)
    assert not is_closed(member)
    assert capfd.readouterr().err == ""


def test_only_who_is_welcome_may_send_much(hub: Hub, connect: Connect) -> None:
    long = {"holds": ["x" * HELLO_LIMIT]}
    first, second = connect(), connect()
    for each in (first, second):
        each.say({"task": 1})
    happens(hub, 2)
    hub.welcome(1)
    for each in (first, second):
        each.say(long)
    assert sorted(map(str, happens(hub, 2))) == sorted(map(str, [Heard(1, long), Lost(2)]))


def test_another_thread_can_wake_it(hub: Hub) -> None:
    polling = threading.Thread(target=lambda: list(hub.poll(10 * PATIENCE)), daemon=True)
    polling.start()
    hub.wake()
    polling.join(PATIENCE)
    assert not polling.is_alive()


# Writing


def test_a_message_is_confirmed_when_it_is_on_its_way_if_that_was_asked(hub: Hub, connect: Connect) -> None:
    stranger = connect()
    stranger.say({})
    happens(hub)
    hub.send(1, {"alive": True})
    assert quiet(hub)
    hub.send(1, {"go": True}, confirm=True)
    assert happens(hub) == [Sent(1)]
    assert [stranger.hear(), stranger.hear()] == [{"alive": True}, {"go": True}]


def test_files_lie_between_the_messages_before_and_after_them(hub: Hub, connect: Connect, tmp_path: Path) -> None:
    content = {"a": b"\xff\x00", "b": b"\n{}\n" * 500_000, "empty": b""}
    sizes = {tmp_path / name: len(data) for name, data in content.items()}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    stranger = connect()
    stranger.say({})
    happens(hub)
    hub.send(1, {"prepare": 1})
    hub.send_files(1, sizes)
    hub.send(1, {"go": True}, confirm=True)
    heard: list[bytes | dict[str, object]] = []
    reading = threading.Thread(
        target=lambda: heard.extend([stranger.hear(), *map(stranger.take, sizes.values()), stranger.hear()])
    )
    reading.start()
    assert happens(hub) == [Sent(1)]
    reading.join(PATIENCE)
    assert heard == [{"prepare": 1}, *content.values(), {"go": True}]


def test_who_does_not_read_holds_up_nobody_and_is_lost_at_last(hub: Hub, connect: Connect, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MANY)
    slow, other = connect(), connect()
    for each in (slow, other):
        each.say({})
    happens(hub, 2)
    hub.welcome(1)
    hub.send_files(1, {tmp_path / "large": MANY})
    hub.send(2, {"go": True}, confirm=True)
    assert happens(hub) == [Sent(2)]
    assert other.hear() == {"go": True}
    for _ in range(2000):
        hub.send(1, {"alive": True})
    assert happens(hub) == [Lost(1)]


@pytest.mark.parametrize(
    ("name", "why"), [("a", "is shorter than it was"), ("gone", "cannot be read: No such file or directory")]
)
def test_a_file_that_cannot_be_sent_is_a_sentence(
    hub: Hub, connect: Connect, tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "a").write_bytes(b"ab")
    connect().say({})
    (heard,) = happens(hub)
    with pytest.raises(LauncherError, match=rf"^the checkpoint cannot be sent: \S+/{name} {why}$"):
        hub.send_files(heard.connection, {tmp_path / name: 3})


def test_who_was_told_the_last_word_hears_it_and_may_still_be_heard(hub: Hub, connect: Connect) -> None:
    member, refused = connect(), connect()
    for each in (member, refused):
        each.say({})
    happens(hub, 2)
    hub.welcome(1)
    for number in (1, 2):
        hub.send(number, {"end": True})
        hub.hang_up(number)
    assert member.hear_all() == refused.hear_all() == [{"end": True}]
    member.say({"finished": True})
    assert happens(hub) == [Heard(1, {"finished": True})]
    refused.say({"task": 1})  # a stranger that was refused is heard no more
    assert quiet(hub)


def test_a_connection_that_is_dropped_is_closed_and_never_heard_again(hub: Hub, connect: Connect) -> None:
    stranger = connect()
    stranger.say(b"{}\n{}\n")
    heard: list[Heard | Lost | Sent] = []
    while not heard:
        for event in hub.poll(PATIENCE):
            heard.append(event)
            hub.drop(event.connection)
    assert heard == [Heard(1, {})]
    assert quiet(hub)
    assert is_closed(stranger)
    hub.send(1, {})  # to nobody


# Strangers


def test_a_connection_that_stays_silent_is_closed(hub: Hub, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELLO_TIMEOUT", 0.05)
    silent, slow, member = connect(), connect(), connect()
    slow.say(b'{"task"')
    member.say({})
    assert happens(hub) == [Heard(3, {})]
    hub.welcome(3)
    while hub._strangers:
        list(hub.poll(0.01))
    assert is_closed(silent)
    assert is_closed(slow)
    assert not is_closed(member)


def test_of_too_many_that_say_nothing_the_oldest_is_closed_and_no_member_is(
    hub: Hub, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_STRANGERS", 3)
    member = connect()
    member.say({})
    happens(hub)
    hub.welcome(1)
    silent = [connect() for _ in range(5)]
    assert happens(hub, 2) == [Lost(2), Lost(3)]
    assert [is_closed(stranger) for stranger in (member, *silent)] == [False, True, True, False, False, False]


def test_who_has_left_is_no_stranger_any_more(hub: Hub, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_STRANGERS", 1)
    for number in (1, 2, 3):
        stranger = connect()
        stranger.say({})
        happens(hub)
        hub.drop(number)
    silent = connect()
    assert quiet(hub)
    assert not is_closed(silent)


def test_without_a_file_descriptor_for_who_comes_it_waits_and_does_not_spin(
    hub: Hub, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Full:
        """A listener in a process that has no file descriptor left, for the first few times."""

        def __getattr__(self, name: str) -> Any:
            return getattr(listener, name)

        def accept(self) -> tuple[socket.socket, Any]:
            asked.append(1)
            if len(asked) <= 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return listener.accept()

    listener, hub._listener = hub._listener, Full()  # type: ignore[assignment]
    connect().say({"a": 1})
    monkeypatch.setattr(module, "_DEAF", PATIENCE)
    assert list(hub.poll(PATIENCE)) == []
    for _ in range(5):
        assert list(hub.poll(0.0)) == []
    assert len(asked) == 1
    hub._deaf_until = 0.0
    monkeypatch.setattr(module, "_DEAF", 0.0)
    assert happens(hub) == [Heard(1, {"a": 1})]
    assert len(asked) == 4


def test_endless_lines_cost_bounded_memory(hub: Hub, connect: Connect) -> None:
    connect().say({"task": 1})
    happens(hub)
    hub.welcome(1)
    member, stranger = connect(), connect()
    for each in (member, stranger):
        each.say({"task": 1})
    happens(hub, 2)
    hub.welcome(2)
    for number, (each, most) in enumerate(((member, LONGEST), (stranger, HELLO_LIMIT)), start=2):
        each.socket.settimeout(0.05)
        held = 0
        while number in hub._connections:
            with suppress(OSError):
                each.socket.send(b"x" * 65_536)
            list(hub.poll(0.01))
            if connection := hub._connections.get(number):
                held = max(held, len(connection.inbox._bytes))
        assert held <= most + 65_536
    assert 1 in hub._connections
