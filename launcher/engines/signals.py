"""The signals that stop a launcher."""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_taken(selector: selectors.BaseSelector, take: Callable[[int], None]) -> Iterator[None]:
    """Turn the signals that stop a launcher into events; the loop acts on them, never a handler."""
    read_end, write_end = socket.socketpair()
    with read_end, write_end:
        read_end.setblocking(False)
        write_end.setblocking(False)

        def arrived() -> None:
            for number in read_end.recv(64):
                take(number)

        selector.register(read_end, selectors.EVENT_READ, arrived)
        # In this order: a signal between the two would be neither an event nor an exception.
        wakeup = signal.set_wakeup_fd(write_end.fileno())
        before = {number: signal.signal(number, lambda *_: None) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            selector.unregister(read_end)
