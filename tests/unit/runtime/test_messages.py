"""How a message travels, who listens, and whose host is known."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from socketserver import StreamRequestHandler, TCPServer
from types import SimpleNamespace

import pytest

from launcher.cluster.inventory import free_ports
from launcher.errors import FormationError, LauncherError
from launcher.runtime import messages
from launcher.runtime.messages import NONSENSE, find_hosts, listen, not_formed, send
from launcher.supervise.network import held_ports
from tests.unit.runtime.conftest import serve_quickly, task_context
from tests.unit.runtime.meeting import PATIENCE

# A name with a space: it is refused before anybody is asked for it.
UNKNOWN = {"worker": ("127.0.0.1:1", "no host:1"), "ps": ("[::1]:1", "nor this:1")}
NAMES = ["worker:1 (no address is known here for no host)", "ps:1 (no address is known here for nor this)"]

Converse = Callable[[StreamRequestHandler], None]
Listen = Callable[[Converse], int]


# One message


def test_a_message_arrives_as_it_was_sent() -> None:
    here, there = socket.socketpair()
    with here, there, there.makefile("rb") as lines:
        send(here, failed="a\nb ü", exit_code=3)
        send(here, end=True)
        here.close()
        assert list(messages.messages(lines)) == [{"failed": "a\nb ü", "exit_code": 3}, {"end": True}]


@pytest.mark.parametrize("broken", [b"", b'{"end": true}', b'{"end', b"\xff"])
def test_a_last_line_that_broke_off_says_nothing(broken: bytes) -> None:
    assert list(messages.messages(io.BytesIO(b'{"alive": true}\n' + broken))) == [{"alive": True}]


def test_what_is_no_object_is_passed_over() -> None:
    assert list(messages.messages(io.BytesIO(b'[]\nnull\n1\n"go"\n{"go": true}\n'))) == [{"go": True}]


@pytest.mark.parametrize("said", [b"\n", b"HTTP/1.1 400\r\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n"])
def test_what_is_not_json_is_nonsense(said: bytes) -> None:
    with pytest.raises(NONSENSE):
        next(messages.messages(io.BytesIO(said)))


def test_nothing_can_be_sent_to_who_has_gone() -> None:
    here, there = socket.socketpair()
    there.close()
    with here, pytest.raises(OSError, match="Broken pipe"):
        send(here, alive=True)


# Who listens


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


def echo(handler: StreamRequestHandler) -> None:
    handler.wfile.write(handler.rfile.readline())


def test_each_conversation_has_a_thread_of_its_own(listening: Listen) -> None:
    both = threading.Barrier(2)

    def together(handler: StreamRequestHandler) -> None:
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

    def converse(handler: StreamRequestHandler) -> None:
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
    monkeypatch.setattr(messages, "HELLO_TIMEOUT", 0.05)
    with connect(listening(echo)) as silent:
        assert silent.recv(9) == b""


def test_a_port_that_the_launcher_holds_is_free_to_listen_at(listening: Listen, port: int) -> None:
    with held_ports([port]), connect(listening(echo)) as connection:
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
    assert messages._listening_place(rendezvous) == (family, (host, 5))


# Whose host is known


def never(missing: Collection[str]) -> None:
    raise AssertionError(f"somebody waits for {missing}")


def test_who_never_came_is_named_with_exit_code_3() -> None:
    error = not_formed(["worker:1", "ps:0"])
    assert str(error) == "the cluster did not form in time (run.start_timeout); missing: worker:1, ps:0"
    assert error.exit_code == 3


def test_hosts_that_are_known_are_not_waited_for() -> None:
    cluster = {"worker": ("127.0.0.1:1", "localhost:2", "[::1]:3")}
    find_hosts(task_context(cluster=cluster), deadline=0.0, waiting=never)


def test_at_the_deadline_every_task_is_named_whose_host_is_unknown() -> None:
    with pytest.raises(FormationError) as caught:
        find_hosts(task_context(cluster=UNKNOWN), deadline=0.0, waiting=never)
    assert str(caught.value) == str(not_formed(NAMES))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock for who waits: it goes on by what they sleep."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(messages, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


def test_a_host_that_becomes_known_is_waited_for_and_named_meanwhile(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, said = {"127.0.0.1", "::1", "nor this"}, []

    def waiting(missing: Collection[str]) -> None:
        said.append((clock[0], list(missing)))
        if len(said) == 2:
            known.add("no host")

    monkeypatch.setattr(messages, "_is_known", known.__contains__)
    find_hosts(task_context(cluster=UNKNOWN), deadline=60.0, waiting=waiting)
    assert said == [(5.0, NAMES[:1]), (10.0, NAMES[:1])]


def test_a_wait_for_hosts_does_not_outlast_the_deadline(clock: list[float]) -> None:
    with pytest.raises(FormationError):
        find_hosts(task_context(cluster=UNKNOWN), deadline=0.75, waiting=never)
    assert clock == [0.75]
