"""EventLoop: what every engine's run waits in: descriptors, the signals that stop a launcher, and a screen."""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from launcher.contract.task import Task
from launcher.engines.engine import Screen

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EventLoop:
    """Calls whatever is registered with its selector; signals arrive as calls like these, never in a handler."""

    def __init__(self, screen: Screen, signalled: Callable[[int], None]) -> None:
        """``signalled`` takes the number of a signal, and SIGHUP once nobody can watch the screen any more."""
        self.selector = selectors.DefaultSelector()
        self._screen, self._signalled = screen, signalled
        self._watched, self._stopping = True, False
        self._ignored: frozenset[int] = frozenset()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Take the signals that stop a launcher until the end of the block.

        One that was ignored when the launcher began (nohup, a shell's ``&``) stays ignored. Once one was
        taken, all are ignored after the block: the next of a series must not cut the last lines or result.json short.
        """
        read_end, write_end = socket.socketpair()
        with read_end, write_end:
            read_end.setblocking(False)
            write_end.setblocking(False)

            def arrived() -> None:
                for number in read_end.recv(64):
                    self._signal(number)

            self.selector.register(read_end, selectors.EVENT_READ, arrived)
            # In this order: a signal between the two would be neither an event nor an exception.
            wakeup = signal.set_wakeup_fd(write_end.fileno())
            self._ignored = frozenset(number for number in _STOP_SIGNALS if signal.getsignal(number) is signal.SIG_IGN)
            taken = [number for number in _STOP_SIGNALS if number not in self._ignored]
            before = {number: signal.signal(number, lambda *_: None) for number in taken}
            try:
                yield
            finally:
                for number, handler in before.items():
                    # Python's own exit would give a handler back to the kernel, but not what is ignored.
                    signal.signal(number, signal.SIG_IGN if self._stopping else handler)
                signal.set_wakeup_fd(wakeup)
                self.selector.unregister(read_end)

    def wait(self, seconds: float) -> None:
        """Wait until something can be read, or for that long, and call what is registered for it."""
        for key, _ in self.selector.select(seconds):
            # A call a moment ago, in this same round, may have closed it.
            if key.fileobj in self.selector.get_map():
                key.data()

    def say(self, text: str) -> None:
        """Show a line of the launcher's own; if nobody reads it any more, the run stops."""
        self._show(lambda: self._screen.note(text))

    def line(self, task: Task, text: str) -> None:
        """Show a line that a task printed."""
        self._show(lambda: self._screen.line(task, text))

    def progress(self, progress: Mapping[str, Any]) -> None:
        """Show how far the training is."""
        self._show(lambda: self._screen.progress(progress))

    def _show(self, show: Callable[[], None]) -> None:
        # A closed pipe or a dead terminal: nobody watches, so the run ends as after SIGHUP, or goes on as under nohup.
        if self._watched:
            try:
                show()
            except OSError:
                self._watched = False
                if not self._stopping and signal.SIGHUP not in self._ignored:
                    self._signal(signal.SIGHUP)

    def _signal(self, number: int) -> None:
        self._stopping = True
        self._signalled(number)
