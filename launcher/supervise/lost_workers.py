"""LostWorkers: the workers that a run continues without, because restarting them does not succeed."""

from __future__ import annotations

from launcher.contract.roles import Quorum
from launcher.contract.task import Task
from launcher.supervise.causes import Cause

_IN_A_ROW = 3  # failures of one task, with no other task's between them, after which it counts as lost


class LostWorkers:
    """Counts the failures of each worker, and keeps which were left out; ``Quorum`` decides how many may be."""

    def __init__(self, quorum: Quorum | None = None) -> None:
        self._quorum = quorum or Quorum()
        self.left_out: tuple[Task, ...] = ()
        self._last: Task | None = None  # the culprit of the last failure
        self._in_a_row = 0

    def note_failure(self, culprit: Task) -> None:
        """Count a failure that began with this task."""
        self._in_a_row = self._in_a_row + 1 if culprit == self._last else 1
        self._last = culprit

    def reset(self) -> None:
        """Count from zero again: failures of long ago say nothing about the next one."""
        self._last, self._in_a_row = None, 0

    def should_leave_out(self, cause: Cause, *, restarts_left: bool) -> bool:
        """Whether to continue without the culprit: the others are enough, and restarting it will not succeed."""
        task = cause.culprit
        others_are_enough = task not in self.left_out and self._quorum.holds_without({*self.left_out, task})
        hopeless = cause.misplaced or (cause.retryable and (self._in_a_row >= _IN_A_ROW or not restarts_left))
        return others_are_enough and hopeless

    def leave_out(self, task: Task) -> str:
        """Continue without this worker; return what to tell the user."""
        self.left_out += (task,)
        asked, fewest = len(self._quorum.workers), self._quorum.fewest
        left = asked - len(self.left_out)
        return f"continuing without {task}, with {left} of {asked} workers (cluster.worker.min: {fewest})"
