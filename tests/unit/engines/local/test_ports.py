"""Ports that are held for tasks, as the kernel has them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from launcher.engines.local.ports import HeldPorts
from launcher.errors import UsageError
from launcher.host.ports import free_ports, who_holds


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


@contextmanager
def held(ports: Iterable[int]) -> Iterator[HeldPorts]:
    """Hold these ports."""
    with HeldPorts() as holding:
        holding.hold(ports)
        yield holding


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_a_held_port_keeps_others_out_until_it_is_let_go(port: int, host: str) -> None:
    with held([port]), pytest.raises(OSError, match="in use"):
        listen(port, shared=False, host=host)
    listen(port, shared=False, host=host)


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_a_server_that_shares_listens_on_a_held_port_and_gets_every_connection(port: int, host: str) -> None:
    with held([port]):
        for _ in range(20):
            listen(port, shared=True, host=host)


def test_a_held_port_takes_no_connection_of_its_own(port: int) -> None:
    with held([port]), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_port_in_use_is_refused_with_its_holder(taken: int) -> None:
    with pytest.raises(UsageError) as caught, held([taken]):
        pass
    name = psutil.Process().name()
    assert str(caught.value) == (
        f"port {taken} is not free: {name} (pid {os.getpid()}) holds it; "
        "end it, or write another port in the cluster file"
    )


def test_a_port_in_use_lets_go_of_those_before_it(port: int, taken: int) -> None:
    with pytest.raises(UsageError, match=str(taken)), held([port, taken]):
        pass
    assert who_holds(port) == ""


def test_what_another_launcher_holds_is_not_free(port: int) -> None:
    with held([port]), pytest.raises(UsageError, match=f"port {port} is not free"), held([port]):
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


def test_what_is_held_already_stays_held_when_more_is_asked_for(port: int) -> None:
    another = next(free for free in free_ports(2) if free != port)
    with held([port]) as holding:
        holding.hold([port, another])
        for one in (port, another):
            with pytest.raises(OSError, match="in use"):
                listen(one, shared=False)
    assert [who_holds(one) for one in (port, another)] == ["", ""]


def test_of_ports_of_which_one_is_taken_none_is_held_but_those_that_were(port: int, taken: int) -> None:
    another = next(free for free in free_ports(2) if free != port)
    with held([port]) as holding:
        with pytest.raises(UsageError, match=str(taken)):
            holding.hold([port, another, taken])
        assert who_holds(another) == ""
        assert who_holds(port)
