"""What is outside of a run's network, as far as tests may go: this machine's own address, and a namespace of it."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

ANSWER = "reached"
_HERE, _THERE = "198.51.100.1", "198.51.100.2"  # RFC 5737: no host of the Internet is there
_SERVER = f"""
import socket
server = socket.create_server(("{_THERE}", 0))
print(server.getsockname()[1], flush=True)
while True:
    connection, _ = server.accept()
    with connection:
        connection.sendall(b"{ANSWER}")
"""
_numbers = itertools.count()


@dataclass(frozen=True)
class Other:
    """A machine with a server."""

    namespace: str
    server: tuple[str, int]


def outward_address() -> str:
    """Return the address by which this machine is known outside; skips if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.200", 9))  # sends nothing
        except OSError as error:
            pytest.skip(f"this machine has no way out itself: {error}")
        address: str = probe.getsockname()[0]
        return address


def fetching(other: Other) -> str:
    """Return a line of Python that prints what the server there answers."""
    return f"import socket; print(socket.create_connection({other.server}, timeout=30).recv(99).decode(), flush=True)"


def need(*commands: str) -> None:
    """Skip, with the reason, if this user is not root or a command is missing; on CI that is a failure."""
    missing = [command for command in commands if not shutil.which(command)]
    why = "needs root" if os.geteuid() else f"{missing[0]} is missing" if missing else ""
    if why:
        assert not os.environ.get("CI"), why
        pytest.skip(why)


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@contextmanager
def namespace() -> Iterator[str]:
    """A network namespace of that name, with a loopback that is up; it is gone afterwards."""
    need("ip")
    name = f"launcher-{os.getpid()}-{next(_numbers)}"
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        ip("netns", "del", name)


@contextmanager
def other_machine(beside: str = "") -> Iterator[Other]:
    """A machine with a server, joined by a wire to this one, or to a namespace that plays this one."""
    with namespace() as there:
        wire, here = f"w{there.removeprefix('launcher-')}", ["-n", beside] if beside else []
        ip(*here, "link", "add", wire, "type", "veth", "peer", "name", "wire", "netns", there)
        ip(*here, "addr", "add", f"{_HERE}/24", "dev", wire)
        ip(*here, "link", "set", wire, "up")
        ip("-n", there, "addr", "add", f"{_THERE}/24", "dev", "wire")
        ip("-n", there, "link", "set", "wire", "up")
        command = ["ip", "netns", "exec", there, sys.executable, "-c", _SERVER]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                yield Other(there, (_THERE, int(server.stdout.readline())))
            finally:
                server.kill()
