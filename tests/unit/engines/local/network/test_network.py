"""Networks that nobody else reaches, as the kernel has them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from launcher.engines.local.network.namespace import enter_private_network
from tests.unit.engines.local.test_ports import listen

PROGRAM = Path(__file__).parents[1] / "programs" / "network.py"
ROOT = Path(__file__).parents[5]
linux = pytest.mark.skipif(sys.platform != "linux", reason="network namespaces need Linux")


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
