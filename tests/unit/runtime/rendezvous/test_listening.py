"""Where a leader listens for its members."""

from __future__ import annotations

import socket

import pytest

from launcher.errors import LauncherError
from launcher.host.ports import free_ports
from launcher.runtime.rendezvous import hub as module
from launcher.runtime.rendezvous.hub import listen
from tests.unit.engines.local.test_ports import held


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def test_a_port_that_the_launcher_holds_is_free_to_listen_at(port: int) -> None:
    with held([port]):
        listen(f"127.0.0.1:{port}").close()


def test_a_port_that_is_taken_is_a_sentence(port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(LauncherError, match=rf"^cannot listen at the rendezvous 127\.0\.0\.1:{port}: .*in use$"),
    ):
        listen(f"127.0.0.1:{port}")


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
    assert module._listening_place(rendezvous) == (family, (host, 5))
