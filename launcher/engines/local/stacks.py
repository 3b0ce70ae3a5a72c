"""Stacks: what the threads of a task that hangs are doing, as faulthandler wrote it into the task's log."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from launcher.contract.task import Task
from launcher.engines.local.process import Processes
from launcher.errors import is_library
from launcher.rundir import RunFiles
from launcher.supervise.events import Inspect, Inspected

_ASK = signal.SIGUSR1  # what launcher/runtime/main.py has faulthandler answer to
_TIME = 2.0  # seconds for that
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in (.+)$')


class StackDumps:
    """Asks tasks that hang what they are doing, and reads the answers."""

    def __init__(self, files: RunFiles) -> None:
        self._files = files
        self._logs: dict[Task, tuple[Path, int]] = {}  # the log of each, and its size before
        self._over_at = 0.0

    def ask(self, look: Inspect, attempt: int, processes: Processes) -> None:
        """Begin to watch a task; if it can answer, ask it for the stacks of its threads."""
        log = self._files.log(attempt, look.task.slug)
        self._logs[look.task] = log, log.stat().st_size
        if look.can_answer:
            self._over_at = time.monotonic() + _TIME
            processes.signal_only(look.task, _ASK)

    def found(self, processes: Processes) -> Iterator[Inspected]:
        """Yield what was seen of each task, once they have had the time to answer."""
        if self._logs and time.monotonic() >= self._over_at:
            for task, (log, size) in self._logs.items():
                with log.open("rb") as file:
                    file.seek(size)
                    where = own_code(file.read().decode(errors="replace"))
                yield Inspected(task, processes.is_stopped(task), where)
            self._logs.clear()


def own_code(log: str) -> str:
    """Return the innermost frame of the job's own code, ``train.py:12 (dataset)``; empty if there is none."""
    for line in log.splitlines():
        frame = _FRAME.match(line)
        if frame and Path(frame[1]).is_absolute() and not is_library(Path(frame[1])):  # not <frozen runpy>
            return f"{Path(frame[1]).name}:{frame[2]} ({frame[3]})"
    return ""
