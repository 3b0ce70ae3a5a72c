"""Which name servers of a machine are on its loopback."""

from __future__ import annotations

import pytest

from launcher.engines.local.network.name_servers import on_loopback


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("", []),
        ("nameserver 192.0.2.53\n", []),
        ("# nameserver 127.0.0.1\nnameserver 127.0.0.53\noptions edns0 trust-ad\n", ["127.0.0.53"]),
        ("nameserver\t127.0.0.1\nnameserver 192.0.2.53\nnameserver ::1\n", ["127.0.0.1", "::1"]),
        ("nameserver 127.0.0.1\nnameserver 127.0.0.1\n", ["127.0.0.1"]),
        ("nameserver\nnameserver localhost\n", []),
        ("nameserver 192.0.2.1\n" * 3 + "nameserver 127.0.0.1\n", []),  # only three are ever asked
    ],
)
def test_those_that_are_asked_and_are_on_loopback(text: str, servers: list[str]) -> None:
    assert on_loopback(text) == servers
