"""Stream: a command of the engine whose lines are read while it runs."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

from launcher.engines.logs import LinePipe

_END_GRACE = 5.0  # seconds between asking a command to end and killing it


class Stream:
    """A running command; its lines are read whenever the selector's loop turns."""

    def __init__(
        self,
        command: Sequence[str],
        selector: selectors.BaseSelector,
        read: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._selector, self._read = selector, read
        self._pipe = LinePipe()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._pipe.write_end,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a terminal's Ctrl-C is for the launcher, which knows what to do about it
        )
        self._pipe.started()
        selector.register(self._pipe.read_end, selectors.EVENT_READ, self._take)

    @property
    def exit_code(self) -> int | None:
        """The command's exit code; None while it runs, or has left lines that nobody has read."""
        return self._process.poll() if self._pipe.ended else None

    def close(self) -> None:
        """End the command if it still runs, and read no more of it."""
        if self._process.poll() is None:
            self._kill(signal.SIGTERM)
        try:
            self._process.wait(_END_GRACE)
        except subprocess.TimeoutExpired:
            self._kill(signal.SIGKILL)
            self._process.wait()
        if self._pipe.read_end in self._selector.get_map():
            self._selector.unregister(self._pipe.read_end)
        for line in self._pipe.close():
            self._read(line)

    def _take(self) -> None:
        for line in self._pipe.lines():
            self._read(line)
        if self._pipe.ended:
            self._selector.unregister(self._pipe.read_end)

    def _kill(self, number: int) -> None:
        os.killpg(self._process.pid, number)  # its own session: the group has its number
