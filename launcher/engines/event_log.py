"""EventLog: the lines of events.jsonl, with the time of the whole run; and the file that shows that the tasks train."""

from __future__ import annotations

import time
from typing import Any

from launcher.engines.ready_file import ReadyFile
from launcher.rundir import RunFiles
from launcher.supervise.events import Record
from launcher.whole_files import append_json


class EventLog:
    """Writes down every change of a run's state."""

    def __init__(self, files: RunFiles, launched: float, before: float) -> None:
        """``launched`` is when the launcher began, in seconds since the epoch; launchers before took ``before``."""
        self._file, self._launched, self._before = files.events, launched, before
        self._ready_file = ReadyFile.of_environment()

    def write(self, record: Record, *, trains: bool) -> None:
        """Write a change of state down; ``trains``: all tasks have formed, and are watched."""
        if record.task is None and self._ready_file:
            self._ready_file.show(ready=trains)
        elapsed = round(self._before + time.time() - self._launched, 3)  # seconds of the whole run
        line: dict[str, Any] = {"time": time.time(), "elapsed": elapsed, "attempt": record.attempt}
        line |= {"task": record.task and str(record.task)}
        line |= {"state": record.state, "cause": record.cause}
        append_json(self._file, line | {"details": record.details} if record.details else line)

    def close(self) -> None:
        """Let nothing show any more that the tasks train."""
        if self._ready_file:
            self._ready_file.show(ready=False)
