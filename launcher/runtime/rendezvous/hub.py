"""Hub: all connections of a leader, read and written by one thread, so that none holds up another.

Anyone on the network may connect and send anything. Whoever has not proved who it is may send short lines for a few
seconds, and the number of such connections is limited.
"""

from __future__ import annotations

import math
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError
from launcher.runtime.rendezvous.events import Heard, Lost, Sent
from launcher.runtime.rendezvous.messages import HELLO_LIMIT, HELLO_TIMEOUT, NONSENSE, Inbox, encoded
from launcher.runtime.rendezvous.outbox import Outbox

_MOST_STRANGERS = 256  # connections that have not said who they are; one more, and the oldest of them is closed
_DEAF = 1.0  # seconds without new connections once no file descriptor is left for one
_READ = 1 << 16  # bytes that are read at once


@dataclass
class _Connection:
    socket: socket.socket
    since: float
    inbox: Inbox = field(default_factory=Inbox)
    outbox: Outbox = field(default_factory=Outbox)
    stranger: bool = True
    confirms: bool = False  # whether Sent is to follow once all is sent
    hung_up: bool = False  # nothing more will be sent


class Hub:
    """Connections by number. All but ``wake`` is for one thread only."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._numbers = count(1)
        self._connections: dict[int, _Connection] = {}
        self._strangers: dict[int, None] = {}  # the oldest first
        self._deaf_until = math.inf  # inf: it listens
        self._happened: list[Lost | Sent] = []  # while something was sent
        self._waker, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for waits, number in ((self._listener, 0), (self._woken, -1)):
            waits.setblocking(False)
            self._selector.register(waits, selectors.EVENT_READ, number)

    def wake(self) -> None:
        """Let ``poll`` return soon; from any thread."""
        with suppress(OSError):
            self._waker.send(b"x")

    def poll(self, seconds: float) -> Iterator[Heard | Lost | Sent]:
        """Wait at most this long for something to happen, and yield it."""
        asked = time.monotonic()
        if asked >= self._deaf_until:
            self._deaf_until = math.inf
            self._selector.register(self._listener, selectors.EVENT_READ, 0)
        for key, mask in self._selector.select(0 if self._happened else seconds):
            if key.data == 0:
                self._accept()
            elif key.data < 0:
                self._woken.recv(_READ)
            elif connection := self._connections.get(key.data):
                if mask & selectors.EVENT_WRITE:
                    self._send_some(key.data, connection)
                if mask & selectors.EVENT_READ:
                    yield from self._read(key.data, connection)
        for number in list(self._strangers):
            if asked - self._connections[number].since >= HELLO_TIMEOUT:
                self._lose(number)
        happened, self._happened = self._happened, []
        yield from happened

    def welcome(self, number: int) -> None:
        """Let a connection stay, and send as much as it likes."""
        if connection := self._connections.get(number):
            connection.stranger = False
            self._strangers.pop(number, None)

    def send(self, number: int, message: Mapping[str, Any], *, confirm: bool = False) -> None:
        """Send a message; ``Sent`` follows if it is to be confirmed."""
        if connection := self._connections.get(number):
            connection.confirms |= confirm
            self._send_some(number, connection, partial(connection.outbox.put, encoded(message)))

    def send_files(self, number: int, sizes: Mapping[Path, int]) -> None:
        """Send the content of files; ``sizes`` has their bytes."""
        for path, size in sizes.items():
            if connection := self._connections.get(number):
                self._send_some(number, connection, partial(connection.outbox.put_file, path, size))

    def hang_up(self, number: int) -> None:
        """Send nothing more after what was to be sent; what is still heard counts."""
        if connection := self._connections.get(number):
            connection.hung_up = True
            self._sent(number, connection)

    def drop(self, number: int) -> None:
        """Close a connection at once, without an event."""
        if connection := self._connections.pop(number, None):
            self._strangers.pop(number, None)
            self._selector.unregister(connection.socket)
            connection.socket.close()

    def close(self) -> None:
        """Close everything."""
        for number in list(self._connections):
            self.drop(number)
        self._selector.close()
        for each in (self._listener, self._waker, self._woken):
            each.close()

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # it has gone again
        except OSError:  # no file descriptor, or no memory, is left for it
            if self._strangers:
                self._drop_oldest_stranger()
            else:
                self._stop_listening()
            return
        accepted.setblocking(False)
        number = next(self._numbers)
        self._connections[number] = _Connection(accepted, time.monotonic())
        self._strangers[number] = None
        self._selector.register(accepted, selectors.EVENT_READ, number)
        if len(self._strangers) > _MOST_STRANGERS:
            self._drop_oldest_stranger()

    def _stop_listening(self) -> None:
        """Let who comes wait for a moment: the selector would report it again at once, and again."""
        self._deaf_until = time.monotonic() + _DEAF
        self._selector.unregister(self._listener)

    def _drop_oldest_stranger(self) -> None:
        if self._strangers:
            self._lose(next(iter(self._strangers)))

    def _read(self, number: int, connection: _Connection) -> Iterator[Heard]:
        try:
            data = connection.socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        ignored = connection.stranger and connection.hung_up  # it was refused
        if data and not ignored:
            connection.inbox.put(data)
            yield from self._messages(number, connection)
        if not data:
            self._lose(number)

    def _messages(self, number: int, connection: _Connection) -> Iterator[Heard]:
        try:
            while self._connections.get(number) is connection and not (connection.stranger and connection.hung_up):
                limits = (HELLO_LIMIT,) if connection.stranger else ()
                message = connection.inbox.message(*limits)
                if message is None:
                    return
                yield Heard(number, message)
        except NONSENSE:
            self._lose(number)

    def _send_some(self, number: int, connection: _Connection, put: Callable[[], None] = lambda: None) -> None:
        try:
            put()
            connection.outbox.send_some(connection.socket)
        except ConnectionError:
            connection.outbox = Outbox()  # what arrived before the other side closed is read first
        except OSError:
            self._lose(number)
        else:
            self._sent(number, connection)

    def _sent(self, number: int, connection: _Connection) -> None:
        """Note what is left to send."""
        if connection.outbox:
            self._selector.modify(connection.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, number)
            return
        self._selector.modify(connection.socket, selectors.EVENT_READ, number)
        if connection.confirms:
            connection.confirms = False
            self._happened.append(Sent(number))
        if connection.hung_up:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_WR)

    def _lose(self, number: int) -> None:
        if number in self._connections:
            self.drop(number)
            self._happened.append(Lost(number))


def hub_at(rendezvous: str) -> Hub:
    """Return a hub that listens at the rendezvous (host:port); LauncherError if that is impossible."""
    listener = listen(rendezvous)
    try:
        return Hub(listener)
    except OSError as error:  # no file descriptor is left
        listener.close()
        raise LauncherError(f"cannot listen at the rendezvous {rendezvous}: {error.strerror}") from None


def listen(rendezvous: str) -> socket.socket:
    """Listen at the rendezvous (host:port); LauncherError if that is impossible."""
    family, address = _listening_place(rendezvous)
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The launcher holds the port for us until we are here (engines/local/ports.py).
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(socket.SOMAXCONN)  # all members come at once
    except OSError as error:
        listener.close()
        raise LauncherError(f"cannot listen at the rendezvous {rendezvous}: {error.strerror}") from None
    return listener


def _listening_place(rendezvous: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return where a leader listens: like TensorFlow's server on every interface, but for a loopback address."""
    # Not at the address itself: it is where others find us, which may not be ours to bind (NAT).
    host, _, port = rendezvous.rpartition(":")
    if host.startswith("["):
        return socket.AF_INET6, ("::1" if host == "[::1]" else "::", int(port))
    if host == "localhost":
        return socket.AF_INET, ("127.0.0.1", int(port))
    return socket.AF_INET, (host if host.startswith("127.") else "0.0.0.0", int(port))  # noqa: S104
