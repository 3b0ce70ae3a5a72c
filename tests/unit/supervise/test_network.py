"""Ports that are held for tasks, and networks that nobody else reaches, as the kernel has them."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.cluster.inventory import free_ports
from launcher.errors import UsageError
from launcher.supervise.network import enter_private_network, held_ports, who_holds

PROGRAM = Path(__file__).parent / "programs" / "network.py"
ROOT = Path(__file__).parents[3]
linux = pytest.mark.skipif(sys.platform != "linux", reason="network namespaces need Linux")


@pytest.fixture
def port() -> int:
    """A port of this host that is free."""
    return free_ports(1)[0]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of this host that this process listens on."""
    with socket.create_server(("", 0)) as server:
        yield server.getsockname()[1]


def listen(port: int, *, shared: bool, host: str = "") -> None:
    """Listen on the port and take a connection."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((host, port))
        server.listen()
        with socket.create_connection(("127.0.0.1", port), timeout=5), server.accept()[0]:
            pass


# Held ports


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_a_held_port_keeps_others_out_until_it_is_let_go(port: int, host: str) -> None:
    with held_ports([port]), pytest.raises(OSError, match="in use"):
        listen(port, shared=False, host=host)
    listen(port, shared=False, host=host)


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_a_server_that_shares_listens_on_a_held_port_and_gets_every_connection(port: int, host: str) -> None:
    with held_ports([port]):
        for _ in range(20):
            listen(port, shared=True, host=host)


def test_a_held_port_takes_no_connection_of_its_own(port: int) -> None:
    with held_ports([port]), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_port_in_use_is_refused_with_its_holder(taken: int) -> None:
    with pytest.raises(UsageError) as caught, held_ports([taken]):
        pass
    name = psutil.Process().name()
    assert str(caught.value) == (
        f"port {taken} is not free: {name} (pid {os.getpid()}) holds it; "
        "end it, or write another port in the cluster file"
    )


def test_a_port_in_use_lets_go_of_those_before_it(port: int, taken: int) -> None:
    with pytest.raises(UsageError, match=str(taken)), held_ports([port, taken]):
        pass
    assert who_holds(port) == ""


def test_what_another_launcher_holds_is_not_free(port: int) -> None:
    with held_ports([port]), pytest.raises(UsageError, match=f"port {port} is not free"), held_ports([port]):
        pass


def test_a_free_port_is_held_by_nobody_although_its_last_connection_is_dying_down(port: int) -> None:
    assert who_holds(port) == ""
    listen(port, shared=False)  # the side that closes first leaves TIME_WAIT behind
    assert who_holds(port) == ""


def test_a_holder_that_may_not_be_looked_at_is_another_process(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str) -> list[Any]:
        raise psutil.AccessDenied(msg=f"{kind}: only root may look")

    monkeypatch.setattr(psutil, "net_connections", refuse)
    assert who_holds(taken) == "another process holds it"


def test_a_port_that_cannot_be_opened_says_why(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", Refused)
    assert who_holds(port) == "it cannot be opened: Permission denied"


# Private networks


@contextmanager
def inside(user: int = 0, refused: str = "") -> Iterator[dict[str, Any]]:
    """Start a process that enters a network of its own; yield what it sees there while it lives."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(user), refused],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())


@pytest.fixture(params=["root", "user"])
def user(request: pytest.FixtureRequest) -> int:
    """The user that a child becomes, in as far as this process may decide; 0: it stays who it is."""
    root = os.getuid() == 0
    if request.param == "root" and not root:
        pytest.skip("needs root")
    return 65534 if request.param == "user" and root else 0


@linux
def test_a_private_network_has_only_a_loopback_that_is_up_and_is_not_reached_from_outside(user: int) -> None:
    with inside(user) as seen:
        if seen["why"]:
            pytest.skip(seen["why"])
        assert not seen["same"]
        assert "lo" in seen["interfaces"]
        assert not {name for _, name in socket.if_nameindex()} & set(seen["interfaces"]) - {"lo", "sit0", "tunl0"}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", seen["port"]), timeout=5)
        listen(seen["port"], shared=False)  # nor does it collide with anything


@linux
def test_the_user_keeps_their_own_id_in_a_private_network(user: int) -> None:
    with inside(user) as seen:
        if seen["why"]:
            pytest.skip(seen["why"])
        assert seen["ids"] == ([user, user] if user else [os.getuid(), os.getgid()])


@linux
@pytest.mark.parametrize(
    ("user", "step"),
    [("root", "_raise_loopback"), ("user", "_raise_loopback"), ("user", "_map_identity")],  # root maps no identity
    indirect=["user"],
)
def test_a_step_that_the_kernel_refuses_is_said_and_leaves_the_process_where_it_was(step: str, user: int) -> None:
    with inside(user, step) as seen:
        assert seen["why"] == "the kernel forbids a network namespace here: Operation not permitted"
        assert seen["same"]


def test_where_there_are_no_namespaces_the_answer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert enter_private_network() == "network namespaces need Linux"
