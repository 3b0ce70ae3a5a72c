"""HangDetector: no step for run.stall_timeout. Every task is inspected first, then the culprit is named."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from launcher.contract.task import Task
from launcher.supervise.causes import Cause
from launcher.supervise.events import Inspect, Inspected, TaskState
from launcher.supervise.progress import Progress
from launcher.supervise.task_table import TaskTable

INSPECTION_GRACE = 5.0  # seconds for the inspection of all tasks
FOLLOWER_GRACE = 20.0  # seconds in which the leader's launcher may find and end the culprit before the others do


class HangDetector:
    """Watches the progress of one attempt after another."""

    def __init__(self, timeout: float, progress: Progress, *, leads: bool = True) -> None:
        """``timeout`` is in seconds; ``leads``: the leader is a task of this host."""
        self._timeout, self._progress = timeout, progress
        self._patience = timeout if leads else timeout + FOLLOWER_GRACE
        self._findings: dict[Task, Inspected] = {}
        self._until: float | None = None  # the end of the inspection, if there is one

    def reset(self) -> None:
        """Begin the next attempt."""
        self._until = None

    def is_hanging(self, living: Collection[Task], now: float) -> bool:
        """Whether there was no progress for too long."""
        if now - self._progress.last_activity(living) >= self._patience:
            return True
        self._until = None
        return False

    def note(self, found: Inspected) -> None:
        """Note what the inspection of one task found."""
        self._findings[found.task] = found

    def inspect(self, table: TaskTable, tasks: Collection[Task], now: float) -> Mapping[Task, Inspected] | None:
        """Have these tasks inspected, once in each hang; return the findings, or None until they are complete.

        After INSPECTION_GRACE they count as complete, whatever is missing.
        """
        if self._until is None:
            self._until = now + INSPECTION_GRACE
            self._findings.clear()
            table.add(*(Inspect(task, can_answer=table.states[task] is not TaskState.STARTED) for task in tasks))
        if now < self._until and not self._findings.keys() >= set(tasks):
            return None
        return {task: self._findings.get(task, Inspected(task)) for task in tasks}

    def cause(self, findings: Mapping[Task, Inspected]) -> Cause:
        """Return the cause that the findings of all living tasks show."""
        culprit, how = self._progress.culprit(findings)
        return Cause.hang(culprit, self._timeout, how)
