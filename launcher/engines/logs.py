"""What tasks print: all of it to their files, lines worth reading to the screen."""

from __future__ import annotations

import os
import re
from pathlib import Path

_CHUNK = 65536
_LONGEST = 65536  # bytes of a line after which it is shown in pieces
_LAST_CHUNKS = 256  # what is read at most after a task has ended
# TensorFlow's own start-up noise: C++ log lines (two styles) and continuations, and Python's log lines below ERROR.
_NOISE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] "
    r"|[IWE]0000 00:00:\d+\.\d+ "
    r"|[IWE]\d{4} \d\d:\d\d:\d\d\.\d+ "
    r"|WARNING: All log messages before absl::InitializeLog"
    r"|To enable the following instructions:|/job:\w+/replica:\d+/task:\d+$"
    # Later lines of messages about a peer that has gone, which the launcher says better.
    r"|Additional GRPC error information from remote target|:\w+:Error received from peer"
    r"|The error could be from a previous operation\. Restart your program|\t \[\[\{\{"
    r"|The tasks have crashed\. Check the task logs|RPC: /tensorflow\."
    r"|This could happen if the remote target has been disconnected|ERROR:tensorflow:Worker /job:"
    r"|ERROR:tensorflow:Cluster update failed with error"
    r"|(INFO|WARNING):(tensorflow|absl):"
    # Stacks that faulthandler writes, in the middle of which TensorFlow may write as well.
    r"|(Current thread|Thread) 0x[0-9a-f]+ .*\(most recent call first\):|  File \".+\", line \d+ in "
    r"|.*[IWE]0000 00:00:\d+\.\d+ +\d+ \w+\.cc:\d+\]|(<frozen runpy>)?\"?, line \d+ in \w+$"
)
# What goes over many lines that look like anyone's: how its first line begins, and how its last one does.
_DUMPS = {
    "SessionOptions:": "",
    "ERROR:tensorflow:Remote function on worker": "It is treated as a transient connectivity failure",
}
_LONGEST_DUMP = 60  # lines


class NoiseFilter:
    """Distinguishes the lines of TensorFlow's own start-up noise from those that somebody should read."""

    def __init__(self) -> None:
        self._last: str | None = None  # how the last line of the present dump begins
        self._left = 0  # lines that the dump may still have
        self._was_noise = False

    def is_noise(self, line: str) -> bool:
        """Whether this line, which follows the one asked about before, is noise."""
        # Messages of several paragraphs: what is empty between them belongs to them.
        self._was_noise = self._is_dumped(line) or _NOISE.match(line) is not None or (self._was_noise and not line)
        return self._was_noise

    def _is_dumped(self, line: str) -> bool:
        if self._last is not None:
            self._left -= 1
            is_last = line.startswith(self._last) if self._last else not line
            if is_last or not self._left:
                self._last = None
            return True
        for first, last in _DUMPS.items():
            if first in line and (first.startswith("ERROR") or _NOISE.match(line)):
                self._last, self._left = last, _LONGEST_DUMP
                return True
        return False


class LinePipe:
    """A pipe from a task, read by lines without blocking; ``path`` is the file that keeps every byte, if any."""

    def __init__(self, path: Path | None = None) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self._file = path.open("ab", buffering=0) if path else None
        self._rest = b""
        self.ended = False  # every process that could write has closed it
        self._dry = False  # nothing more had arrived at the last read

    def started(self) -> None:
        """Let go of the write end, which is the task's now."""
        os.close(self.write_end)

    def lines(self) -> list[str]:
        """Return the lines that have arrived; none at the end, or if nothing has."""
        try:
            chunk = os.read(self.read_end, _CHUNK)
            self.ended = not chunk
        except BlockingIOError:
            chunk = b""
        self._dry = not chunk
        if self._file:
            self._file.write(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        return [_text(line) for line in lines]

    def close(self) -> list[str]:
        """Return what is left, the last line without its end included, and close pipe and file."""
        lines: list[str] = []
        # Bounded, since a process that left the task's group may hold the other end and write for ever.
        for _ in range(_LAST_CHUNKS):
            lines += self.lines()
            if self._dry:
                break
        os.close(self.read_end)
        if self._file:
            self._file.close()
        return [*lines, _text(self._rest)] if self._rest else lines


def _text(line: bytes) -> str:
    # A carriage return redraws the line (progress bars): the last drawing is what a terminal would show.
    return line.decode("utf-8", errors="replace").rstrip("\r").rpartition("\r")[2]
