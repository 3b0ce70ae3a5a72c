"""Elastic: which workers a run goes on without, where they cannot be brought back."""

from __future__ import annotations

from launcher.contract.roles import Quorum
from launcher.contract.task import Task
from launcher.supervise.events import Cause

_IN_A_ROW = 3  # failures of one task, with no other's between them, after which it is taken for lost


class Elastic:
    """The workers that a run has given up; pure bookkeeping."""

    def __init__(self, quorum: Quorum | None = None) -> None:
        self._quorum = quorum or Quorum()
        self.fewest, self.asked = self._quorum.fewest, len(self._quorum.workers)
        self.left_out: tuple[Task, ...] = ()
        self._last: Task | None = None  # the culprit of the last failure
        self._in_a_row = 0

    @property
    def left(self) -> int:
        """How many workers the run has."""
        return self.asked - len(self.left_out)

    def blame(self, task: Task) -> None:
        """Count a failure that this task is the cause of."""
        self._in_a_row = self._in_a_row + 1 if task == self._last else 1
        self._last = task

    def forget(self) -> None:
        """Begin to count anew: what failed so long ago says nothing of the next failure."""
        self._last, self._in_a_row = None, 0

    def gives_up(self, cause: Cause, *, restarts_left: bool) -> bool:
        """Whether to go on without the culprit: the others are enough, and bringing it back will not succeed."""
        task = cause.culprit
        spare = task not in self.left_out and self._quorum.holds_without({*self.left_out, task})
        hopeless = cause.misplaced or (cause.mendable and (self._in_a_row >= _IN_A_ROW or not restarts_left))
        return spare and hopeless

    def leave_out(self, task: Task) -> str:
        """Go on without it; return what to say."""
        self.left_out += (task,)
        return f"going on without {task}, with {self.left} of {self.asked} workers (cluster.worker.min: {self.fewest})"
