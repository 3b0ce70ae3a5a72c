"""What is to be sent on one connection, without waiting for the other side."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from launcher.errors import LauncherError

_MOST_WAITING = 1024  # messages that the other side has not read yet; with more it is lost
_CHUNK = 1 << 18  # bytes of a file that are in memory at a time


class Outbox:
    """Messages, and files whose content is read as it is sent. True while something is left to send.

    Each method raises OSError if the connection fails, LauncherError if a file of this machine does.
    """

    def __init__(self) -> None:
        self._parts: deque[Iterator[bytes]] = deque()
        self._next = b""

    def __bool__(self) -> bool:
        return bool(self._next)

    def put(self, data: bytes) -> None:
        """Add a message."""
        if len(self._parts) >= _MOST_WAITING:
            raise OSError(errno.ENOBUFS, "the other side does not read")
        self._add(iter((data,)))

    def put_file(self, path: Path, size: int) -> None:
        """Add the content of a file of ``size`` bytes."""
        self._add(_chunks(path, size))

    def send_some(self, connection: socket.socket) -> None:
        """Send as much of what comes next as the kernel takes."""
        with suppress(BlockingIOError):
            self._next = self._next[connection.send(self._next) :]
        self._fill()

    def _add(self, part: Iterator[bytes]) -> None:
        self._parts.append(part)
        self._fill()

    def _fill(self) -> None:
        while self._parts and not self._next:
            self._next = next(self._parts[0], b"")
            if not self._next:
                self._parts.popleft()


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while size:
                chunk = file.read(min(size, _CHUNK))
                if not chunk:
                    raise LauncherError(f"the checkpoint cannot be sent: {path} is shorter than it was")
                size -= len(chunk)
                yield chunk
    except OSError as error:
        raise LauncherError(f"the checkpoint cannot be sent: {path} cannot be read: {error.strerror}") from None
