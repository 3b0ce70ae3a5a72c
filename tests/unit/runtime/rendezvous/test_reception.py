"""Who comes to the rendezvous: conversations side by side, and strangers who say nothing, or anything."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from socketserver import TCPServer

import pytest

from launcher.errors import LauncherError
from launcher.host.ports import free_ports
from launcher.runtime.rendezvous import reception
from launcher.runtime.rendezvous.reception import Conversation, listen
from tests.unit.engines.local.test_ports import held
from tests.unit.runtime.conftest import serve_quickly
from tests.unit.runtime.rendezvous.meeting import PATIENCE

Converse = Callable[[Conversation], None]
Listen = Callable[[Converse], int]


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def listening(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listen]:
    """Return a function that listens, converses so, and returns the port."""
    serve_quickly(monkeypatch)
    servers: list[TCPServer] = []

    def start(converse: Converse) -> int:
        servers.append(listen(f"127.0.0.1:{port}", converse))
        return port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def echo(handler: Conversation) -> None:
    handler.wfile.write(handler.rfile.readline())


def test_each_conversation_has_a_thread_of_its_own(listening: Listen) -> None:
    both = threading.Barrier(2)

    def together(handler: Conversation) -> None:
        both.wait(PATIENCE)
        echo(handler)

    port = listening(together)
    with connect(port) as first, connect(port) as second:
        for connection in (first, second):
            connection.sendall(b"here\n")
        assert [connection.recv(9) for connection in (first, second)] == [b"here\n"] * 2


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("no JSON"), RecursionError("deep")])
def test_a_conversation_that_breaks_disturbs_no_other(
    listening: Listen, error: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    breaks = [error]

    def converse(handler: Conversation) -> None:
        if breaks:
            raise breaks.pop()
        echo(handler)

    port = listening(converse)
    with connect(port) as broken:
        assert broken.recv(9) == b""
    with connect(port) as other:
        other.sendall(b"here\n")
        assert other.recv(9) == b"here\n"
    assert capfd.readouterr().err == ""


def test_a_connection_that_stays_silent_is_closed(listening: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conversation, "timeout", 0.05)
    with connect(listening(echo)) as silent:
        assert silent.recv(9) == b""


def test_a_port_that_the_launcher_holds_is_free_to_listen_at(listening: Listen, port: int) -> None:
    with held([port]), connect(listening(echo)) as connection:
        connection.sendall(b"here\n")
        assert connection.recv(9) == b"here\n"


def test_a_port_that_is_taken_is_a_sentence(port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(LauncherError, match=rf"^cannot listen at the rendezvous 127\.0\.0\.1:{port}: .*in use$"),
    ):
        listen(f"127.0.0.1:{port}", echo)


@pytest.mark.parametrize(
    ("rendezvous", "family", "host"),
    [
        ("127.0.0.2:5", socket.AF_INET, "127.0.0.2"),
        ("localhost:5", socket.AF_INET, "127.0.0.1"),
        ("10.0.0.1:5", socket.AF_INET, "0.0.0.0"),
        ("node-a.example:5", socket.AF_INET, "0.0.0.0"),
        ("[::1]:5", socket.AF_INET6, "::1"),
        ("[fd00::1]:5", socket.AF_INET6, "::"),
    ],
)
def test_only_a_loopback_address_is_listened_at_itself(
    rendezvous: str, family: socket.AddressFamily, host: str
) -> None:
    assert reception._listening_place(rendezvous) == (family, (host, 5))


# Strangers


def hello(handler: Conversation) -> None:
    if found := handler.hello("secret", {"worker:1"}, {"worker:2"}):
        handler.wfile.write(f"welcome {found.name}\n".encode())
        handler.rfile.readline()


def test_of_too_many_that_say_nothing_the_oldest_is_closed_and_no_member_is(
    listening: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "_MOST_STRANGERS", 3)
    port = listening(hello)
    with connect(port) as member:
        member.sendall(b'{"task": "worker:1", "token": "secret"}\n')
        assert member.recv(99) == b"welcome worker:1\n"
        silent = [connect(port) for _ in range(5)]
        assert [stranger.recv(9) for stranger in silent[:2]] == [b"", b""]
        for stranger in silent[2:]:
            stranger.settimeout(0.05)
            with pytest.raises(TimeoutError):
                stranger.recv(9)
            stranger.close()
        with connect(port) as other:
            other.sendall(b'{"task": "worker:1", "token": "secret"}\n')
            assert other.recv(99) == b"welcome worker:1\n"
        member.settimeout(0.05)
        with pytest.raises(TimeoutError):
            member.recv(9)


def test_who_has_left_is_no_stranger_any_more(listening: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "_MOST_STRANGERS", 1)
    port = listening(hello)
    for _ in range(3):
        with connect(port) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n")
            assert stranger.recv(9) == b""
    with connect(port) as silent:
        silent.settimeout(0.05)
        with pytest.raises(TimeoutError):
            silent.recv(9)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b'{"task": "worker:2", "token": "secret"}', b"the run goes on without worker:2"),
        (b'{"task": "worker:9", "token": "secret"}', b"worker:9 is not a task of this cluster"),
        (b'{"task": "worker:1", "token": "guess"}', b"this rendezvous belongs to another run"),
        (b'{"task": "worker:1"}', b"this rendezvous belongs to another run"),
        (b"[]", b"this rendezvous belongs to another run"),
    ],
)
def test_who_does_not_belong_here_is_told_why(listening: Listen, said: bytes, answer: bytes) -> None:
    with connect(listening(hello)) as stranger, stranger.makefile("rb") as answers:
        stranger.sendall(said + b"\n")
        assert answer in answers.readline()
        assert answers.readline() == b""


@pytest.mark.parametrize("said", [b"\x16\x03\x01\x02", b"[" * 5000, b'{"task": "wor', b"\n\n"])
def test_nonsense_ends_its_own_conversation(listening: Listen, said: bytes) -> None:
    with connect(listening(hello)) as stranger:
        stranger.sendall(said)
        stranger.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):  # more was sent than it cared to read
            assert stranger.recv(9) == b""
