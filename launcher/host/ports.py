"""Ports of this host: which are free, and which process holds one that is not."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack, suppress

MOST_PORTS = 16_384  # about half of what systems set aside; the nearer to all of them, the longer each search takes


def free_ports(count: int) -> tuple[int, ...]:
    """Return that many free ports (MOST_PORTS at most).

    They are all held open until enough are found, since the kernel does not give a held port a second time.
    """
    found: dict[int, None] = {}
    count = min(count, MOST_PORTS)
    while len(found) < count:
        before = len(found)
        with ExitStack() as held, suppress(OSError):  # out of file descriptors or ports: release these, then continue
            while len(found) < count:
                # TensorFlow listens on every interface, so the port must be free on every one.
                probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                probe.bind(("", 0))
                found[probe.getsockname()[1]] = None
        if len(found) == before:
            break
    return tuple(found)


def who_holds(port: int) -> str:
    """Return why a server cannot listen on this port of this host; empty if it can."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # A port whose last connection is still in TIME_WAIT is free for a server.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
    except OSError as error:
        return _holder(port) if error.errno == errno.EADDRINUSE else f"it cannot be opened: {error.strerror}"
    return ""


def _holder(port: int) -> str:
    import psutil  # slow to import, and needed only if a port is not free

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {process.pid}) holds it"
    except psutil.Error:
        pass  # some systems show this to root only, and a process may end meanwhile
    return "another process holds it"
