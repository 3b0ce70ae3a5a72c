"""Training: what follows from the reports of the tasks while they train: progress, stragglers, hangs, recovery."""

from __future__ import annotations

from launcher.contract.task import Task
from launcher.supervise.causes import Cause
from launcher.supervise.events import Reported
from launcher.supervise.hangs import HangDetector
from launcher.supervise.progress import Progress
from launcher.supervise.recovery import Recovery
from launcher.supervise.stragglers import Stragglers
from launcher.supervise.task_table import TaskTable


class Training:
    """The training of one attempt after another, as the tasks of this host report it."""

    def __init__(
        self, table: TaskTable, progress: Progress, recovery: Recovery, leader: Task, stall_timeout: float
    ) -> None:
        """``stall_timeout`` is in seconds."""
        self._table, self._progress, self._recovery, self._leader = table, progress, recovery, leader
        self._leads = leader in table.roles  # otherwise the leader runs on another machine
        self._stragglers = Stragglers(stall_timeout / 5)
        self.hangs = HangDetector(stall_timeout, progress, leads=self._leads)

    def begin(self, now: float) -> None:
        """Begin the next attempt."""
        self._progress.begin(now)
        self.hangs.reset()

    def ready(self, event: Reported, now: float) -> None:
        """Take in that a task is ready."""
        self._progress.note(event, now)
        if "step" in event.details:  # of a task that trains: all resume from the same step
            self._progress.resume(int(event.details["step"]))
        self._recovery.end_outage(event.task, now)

    def formed(self, now: float) -> None:
        """Take in that all tasks are ready; if the leader runs elsewhere, this counts as training."""
        self._progress.last_step_at = now
        if not self._leads:
            self._continues(now)

    def heard(self, event: Reported, now: float, *, is_formed: bool) -> None:
        """Take in a report that is not about steps."""
        self._progress.note(event, now)
        if is_formed and not self._leads and not self._progress.any_step:
            self._recovery.note_training(now)  # as far as is known here, if no task here reports steps

    def progressed(self, event: Reported, now: float) -> None:
        """Take in a report of steps; those of the leader count, or, if it runs elsewhere, those of any task."""
        moved = self._progress.report(event.task, event.details, now)
        if not moved or (event.task != self._leader and self._leads):
            return
        self._continues(now)
        if warning := self._stragglers.report(event.details.get("step_times") or {}, event.details["step"], now):
            self._table.say(warning)
            self._table.record(None, "slow", warning)

    def _continues(self, now: float) -> None:
        self._recovery.note_training(now)
        self._recovery.end_outage(None, now)

    def find_hang(self, now: float) -> Cause | None:
        """Return the cause if no step was made for too long, once every task was inspected."""
        living = self._table.living(self._table.gang or self._table.states)
        if self.hangs.is_hanging(living, now) and (findings := self.hangs.inspect(self._table, living, now)):
            return self.hangs.cause(findings)
        return None
