"""The way out of a run's private network: pasta or slirp4netns carries its connections to the host's network."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import IO

_SUBNETS = list(IPv4Network("198.18.0.0/15").subnets(new_prefix=24))  # RFC 2544: no host of the Internet is there
_READY = 5.0  # seconds that a program gets to set up the interface
_LOOK_EVERY = 0.01  # seconds
_NOISE = "to syslog"  # what pasta says of a machine without one
PROGRAMS = ("pasta", "slirp4netns")  # the first that works is taken
NOT_INSTALLED = "neither pasta nor slirp4netns is installed (Debian, Ubuntu: apt install passt, or slirp4netns)"


class WayOut:
    """Opens the network of this process to the outside. Made before the process enters that network.

    A child that stays in the host's network starts the program, and ends it when this process has ended, however.
    """

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        self._installed = [path for name in PROGRAMS if (path := shutil.which(name))]
        with theirs:
            if self._installed and os.fork() == 0:
                try:
                    _keep(os.getppid(), theirs, self._installed)
                finally:
                    os._exit(0)

    def open(self, *, user_namespace: bool) -> str:
        """Open it; return why it is not possible, empty if it is done."""
        if not self._installed:
            return NOT_INSTALLED
        with self._connection as connection:
            connection.sendall(b"u" if user_namespace else b"-")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        # The keeper says "." in front of its reason, so that its sudden end is no success.
        return answer[1:].decode() if answer else "the process that keeps it ended"

    def abandon(self) -> None:
        """Open nothing: this process stays in the host's network."""
        self._connection.close()


def _keep(process: int, connection: socket.socket, programs: list[str]) -> None:
    kept = connection.fileno()
    os.closerange(0, kept)  # the launcher's streams, too: their readers wait until everyone has closed them
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    for _ in range(3):
        os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: 0, 1, 2
    theirs = os.pidfd_open(process)
    if not (asked := connection.recv(1)):
        return
    running, why = _first_that_works(process, programs, user_namespace=asked == b"u")
    connection.sendall(b"." + why.encode())
    connection.close()
    if running:
        select.select([theirs, os.pidfd_open(running.pid)], [], [])
        running.kill()


def _first_that_works(
    process: int, programs: list[str], *, user_namespace: bool
) -> tuple[subprocess.Popen[bytes] | None, str]:
    subnet = free_subnet(Path("/proc/net/route").read_text(encoding="ascii"), process)
    if subnet is None:
        return None, "every subnet of 198.18.0.0/15 has a route of this host"
    whys = []
    # Open files, since programs that give up their capabilities may no longer open these links by name.
    spaces = {"net": os.open(f"/proc/{process}/ns/net", os.O_RDONLY)}
    if user_namespace:
        spaces["user"] = os.open(f"/proc/{process}/ns/user", os.O_RDONLY)
    for program in programs:
        running, why = _started(process, _command(program, subnet, spaces), tuple(spaces.values()))
        if running:
            return running, ""
        whys.append(f"{Path(program).name}: {why}")
    return None, "; ".join(whys)


def free_subnet(routes: str, first: int) -> IPv4Network | None:
    """Return a subnet that no route of the host but the default one has a part of; ``routes`` is /proc/net/route."""
    rows = [line.split() for line in routes.splitlines()[1:]]
    taken = [IPv4Network((_address(row[1]), str(_address(row[7]).bit_count()))) for row in rows if row[7] != "0" * 8]
    turned = [_SUBNETS[(first + i) % len(_SUBNETS)] for i in range(len(_SUBNETS))]
    return next((subnet for subnet in turned if not any(map(subnet.overlaps, taken))), None)


def _address(word: str) -> int:
    return int.from_bytes(bytes.fromhex(word)[::-1], "big")


def _command(program: str, subnet: IPv4Network, spaces: Mapping[str, int]) -> list[str]:
    files = {name: f"/proc/self/fd/{number}" for name, number in spaces.items()}
    if Path(program).name == "slirp4netns":
        user = ["--userns-path", files["user"]] if "user" in files else []
        command = [program, "--configure", "--mtu=65520", "--disable-host-loopback", f"--cidr={subnet}"]
        return [*command, "--netns-type=path", *user, files["net"], "tap0"]
    # No port is carried in either direction, and the host's loopback stays the host's.
    closed = ["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw"]
    addresses = ["-a", str(subnet[2]), "-n", str(subnet.prefixlen), "-g", str(subnet[1])]
    owner = ["--userns", files["user"]] if "user" in files else ["--netns-only"]
    root = ["--runas", "0"] if os.geteuid() == 0 else []  # nobody may not enter a network of root's
    return [program, "--config-net", "--foreground", *addresses, *closed, *root, *owner, "--netns", files["net"]]


def _started(process: int, command: list[str], files: tuple[int, ...]) -> tuple[subprocess.Popen[bytes] | None, str]:
    with tempfile.TemporaryFile() as said:
        try:
            running = subprocess.Popen(
                command, pass_fds=files, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
            )
        except OSError as error:
            return None, error.strerror or str(error)
        deadline = time.monotonic() + _READY
        while time.monotonic() < deadline and running.poll() is None:
            if _has_route(process):
                return running, ""
            time.sleep(_LOOK_EVERY)
        running.kill()
        return None, _reason(said, running.wait())


def _has_route(process: int) -> bool:
    lines = Path(f"/proc/{process}/net/route").read_text(encoding="ascii").splitlines()
    return any(line.split()[1] == "0" * 8 for line in lines[1:])


def _reason(said: IO[bytes], code: int) -> str:
    said.seek(0)
    lines = [line.strip() for line in said.read().decode(errors="replace").splitlines()]
    telling = [line for line in lines if line and _NOISE not in line]
    if code == -9:
        return f"set up no interface within {_READY:g} s"
    return telling[-1] if telling else f"exit code {code}"
