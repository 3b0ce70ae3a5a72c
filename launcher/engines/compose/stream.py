"""Commands of the engine that run while the loop turns: a Stream is read by lines, an inquiry at its end."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

from launcher.engines.logs import LinePipe

Answer = subprocess.CompletedProcess[str]
_END_GRACE = 0.5  # seconds between asking a command to end and killing it


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

    def ask_to_end(self) -> None:
        """Ask the command to end, if it still runs."""
        if self._process.poll() is None:
            self._kill(signal.SIGTERM)

    def close(self) -> None:
        """End the command if it still runs, and read no more of it."""
        self.ask_to_end()
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


@contextmanager
def inquiry(command: Sequence[str], selector: selectors.BaseSelector) -> Iterator[Callable[[], Answer | None]]:
    """Run a command until the end of the block; yields what returns its answer, or None while there is none.

    Its end wakes the selector's loop. OSError if it cannot be started.
    """
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as complained:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=printed, stderr=complained, start_new_session=True
        )
        end = os.pidfd_open(process.pid)
        selector.register(end, selectors.EVENT_READ, lambda: None)
        try:
            yield (
                lambda: (
                    None
                    if process.poll() is None
                    else Answer(command, process.returncode, *_texts(printed, complained))
                )
            )
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            selector.unregister(end)
            os.close(end)


def _texts(*files: IO[bytes]) -> Iterator[str]:
    for file in files:
        file.seek(0)
        yield file.read().decode("utf-8", errors="replace")
