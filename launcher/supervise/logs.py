"""What tasks print: all of it to their files, lines worth reading to the screen."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 65536
_LONGEST = 65536  # bytes of a line after which it is shown in pieces
# TensorFlow's own start-up noise: C++ log lines (two styles) and continuations, and Python's log lines below ERROR.
_NOISE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] "
    r"|[IWE]0000 00:00:\d+\.\d+ "
    r"|[IWE]\d{4} \d\d:\d\d:\d\d\.\d+ "
    r"|WARNING: All log messages before absl::InitializeLog"
    r"|To enable the following instructions:"
    r"|(INFO|WARNING):(tensorflow|absl):"
)


def is_noise(line: str) -> bool:
    """Whether a line is TensorFlow talking to itself."""
    return _NOISE.match(line) is not None


class TaskOutput:
    """One task's output: a pipe that is read without blocking, and the file that keeps every byte."""

    def __init__(self, path: Path) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self._file = path.open("ab", buffering=0)
        self._rest = b""

    def started(self) -> None:
        """Let go of the write end, which is the task's now."""
        os.close(self.write_end)

    def lines(self) -> Iterator[str] | None:
        """Return the lines that have arrived, or None at the end of the output."""
        try:
            chunk = os.read(self.read_end, _CHUNK)
        except BlockingIOError:
            return iter(())
        if not chunk:
            return None
        self._file.write(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        return (_text(line) for line in lines)

    def close(self) -> Iterator[str]:
        """Close the pipe and the file, and yield what had no end of line."""
        os.close(self.read_end)
        self._file.close()
        if self._rest:
            yield _text(self._rest)


def _text(line: bytes) -> str:
    # A carriage return redraws the line (progress bars): the last drawing is what a terminal would show.
    return line.decode("utf-8", errors="replace").rstrip("\r").rpartition("\r")[2]
