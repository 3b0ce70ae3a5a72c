"""pasta and slirp4netns: programs that carry a network's connections to the host's network, as any user."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import IO

from launcher.errors import LauncherError

PROGRAMS = ("pasta", "slirp4netns")
_DEVICE = "/dev/net/tun"
_READY = 5.0  # seconds that a program gets to set up the interface
_LOOK_EVERY = 0.01  # seconds
_NOISE = "to syslog"  # what pasta says of a machine without one
Spaces = Mapping[str, int]  # the namespaces of the network, open: net, and user if it has one


class NoWayError(LauncherError):
    """This way out does not work; the message is why."""


def start(program: str, process: int, subnet: IPv4Network, spaces: Spaces) -> subprocess.Popen[bytes]:
    """Return the program, which carries the connections of that process's network; NoWayError if it does not."""
    try:
        os.close(os.open(_DEVICE, os.O_RDWR))  # the programs do not say what they could not open
    except OSError as error:
        raise NoWayError(f"{_DEVICE} cannot be opened: {error.strerror}") from None
    with tempfile.TemporaryFile() as said:
        try:
            running = subprocess.Popen(
                _command(program, subnet, spaces),
                pass_fds=tuple(spaces.values()),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise NoWayError(error.strerror or str(error)) from None
        try:
            if _sets_up(running, process):
                return running
        except OSError:  # that process has ended
            running.kill()
            raise
        running.kill()
        raise NoWayError(_reason(said, running.wait(), f"set up no interface within {_READY:g} s"))


def _sets_up(program: subprocess.Popen[bytes], process: int) -> bool:
    """Wait until that process's network has a route, as long as the program runs; return whether it has."""
    deadline = time.monotonic() + _READY
    while time.monotonic() < deadline and program.poll() is None:
        if _has_route(process):
            return True
        time.sleep(_LOOK_EVERY)
    return False


def _command(program: str, subnet: IPv4Network, spaces: Spaces) -> list[str]:
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


def _has_route(process: int) -> bool:
    lines = Path(f"/proc/{process}/net/route").read_text(encoding="ascii").splitlines()
    return any(line.split()[1] == "0" * 8 for line in lines[1:])


def _reason(said: IO[bytes], code: int, killed: str) -> str:
    """Return the last that a program said, or how it ended; ``killed`` is why it was killed."""
    said.seek(0)
    lines = [line.strip() for line in said.read().decode(errors="replace").splitlines()]
    telling = [line for line in lines if line and _NOISE not in line]
    if code == -9:
        return killed
    return telling[-1] if telling else f"exit code {code}"
