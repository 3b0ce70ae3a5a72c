"""A member's connection to its leader."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from typing import Any, Self

from launcher.runtime.rendezvous.messages import LONGEST, PROGRESS, SILENCE, Inbox, encoded

_CONNECT_TIMEOUT = 2.0  # seconds
_READ = 1 << 16  # bytes that are read at once


class Wire:
    """One connection. ``send`` is for any thread, all else for one at a time.

    Each method raises OSError if the connection breaks, EOFError if the other side has closed it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._inbox = connection, Inbox()
        self._socket.settimeout(SILENCE)  # for what is sent
        self._sending = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ)

    @classmethod
    def connect(cls, rendezvous: str) -> Self:
        """Connect to host:port."""
        host, _, port = rendezvous.rpartition(":")
        try:
            connection = socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT)
        except UnicodeError:
            raise OSError(f"no host can be called {host}") from None
        # While nobody listens at a port of this machine, the kernel may give it to the one that connects, as its own.
        if connection.getsockname() == connection.getpeername():
            connection.close()
            raise ConnectionRefusedError
        return cls(connection)

    def send(self, **message: Any) -> None:
        """Send one message."""
        with self._sending:
            self._socket.sendall(encoded(message))

    def hear(self, seconds: float, limit: int = LONGEST) -> dict[str, Any] | None:
        """Return the next message; None if none arrives in time.

        Raises one of NONSENSE for anything else, or a line of more than ``limit`` bytes.
        """
        until = time.monotonic() + seconds
        while (message := self._inbox.message(limit)) is None:
            if not self._selector.select(max(0.0, until - time.monotonic())):
                return None
            self._inbox.put(self._receive(_READ))
        return message

    def read(self, count: int) -> bytes:
        """Return at least one and at most ``count`` bytes."""
        if there := self._inbox.take(count):
            return there
        if not self._selector.select(PROGRESS):
            raise TimeoutError
        return self._receive(count)

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._selector.close()
            self._socket.close()

    def _receive(self, count: int) -> bytes:
        data = self._socket.recv(count)
        if not data:
            raise EOFError
        return data
