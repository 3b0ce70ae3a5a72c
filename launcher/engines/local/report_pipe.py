"""ReportPipe: the named pipe on which one task reports, a JSON object a line, of any length that a report may have."""

from __future__ import annotations

import os
from pathlib import Path

from launcher.contract.reports import LONGEST

_CHUNK = 65536  # what a pipe holds
_TOO_LONG = f"what was longer than {LONGEST >> 20} MiB on the pipe of the reports was left out"


class ReportPipe:
    """A named pipe, read by lines without blocking.

    A task opens it by its path for every report, so that no descriptor of the task leads here: a job that closes
    descriptors, uses their numbers for files of its own, or hands them to its children cannot reach it by accident.
    """

    ended = False  # it has a writer for as long as it is open: this process

    def __init__(self, path: Path) -> None:
        self._path = path
        os.mkfifo(path, 0o600)
        self.read_end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._writer = os.open(path, os.O_WRONLY)  # a pipe without any is at its end, and always readable
        self._rest = bytearray()

    def started(self) -> None:
        """Do nothing: the task has no end of it that would be open here."""

    def lines(self) -> list[str]:
        """Return the lines that are whole by now."""
        lines, _ = self._read()
        return lines

    def close(self) -> list[str]:
        """Return what is left, and remove the pipe; half a line, of a task that was killed, is no report."""
        lines, more = self._read()
        while more:
            following, more = self._read()
            lines += following
        os.close(self.read_end)
        os.close(self._writer)
        self._path.unlink(missing_ok=True)
        return lines

    def _read(self) -> tuple[list[str], bool]:
        try:
            chunk = os.read(self.read_end, _CHUNK)
        except BlockingIOError:
            return [], False
        # Not split again with each piece: a long line comes in a thousand of them.
        before, end, after = chunk.rpartition(b"\n")
        whole = bytes(self._rest + before).split(b"\n") if end else []
        if end:
            self._rest.clear()
        self._rest += after  # in place: 64 MiB would otherwise be copied a thousand times
        lines = [line.decode("utf-8", errors="replace") for line in whole]
        if len(self._rest) > LONGEST:
            lines, self._rest = [*lines, _TOO_LONG], bytearray()
        return lines, True
