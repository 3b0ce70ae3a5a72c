"""Training: what follows from the reports of the tasks while they train: progress, stragglers, hangs, recovery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.contract.phases import Phase
from launcher.contract.task import Task
from launcher.supervise.causes import Cause
from launcher.supervise.events import Reported, TaskState
from launcher.supervise.hangs import HangDetector, Patience
from launcher.supervise.phases import Phases
from launcher.supervise.progress import Progress
from launcher.supervise.recovery import Recovery
from launcher.supervise.stragglers import Stragglers
from launcher.supervise.task_table import TaskTable


class Training:
    """The training of one attempt after another, as the tasks of this host report it."""

    def __init__(
        self, table: TaskTable, progress: Progress, recovery: Recovery, leader: Task, patience: Patience
    ) -> None:
        self._table, self._progress, self._recovery, self._leader = table, progress, recovery, leader
        self._leads = leader in table.roles  # otherwise the leader runs on another machine
        self._stragglers = Stragglers(patience.step / 5)
        self.phases = Phases(patience.phases)
        self.hangs = HangDetector(patience, progress, self.phases, leads=self._leads)

    def begin(self, now: float) -> None:
        """Begin the next attempt."""
        self._progress.begin(now)
        self.phases.begin()
        self.hangs.reset()

    @property
    def shown(self) -> Mapping[str, Any]:
        """What the live line shows: how far the training is, and the phase that it waits for, if there is one."""
        first = sorted(self._table.gang, key=lambda task: (task != self._leader, not self._table.roles[task].steps))
        return {**self._progress.shown, **self.phases.shown(first)}

    def in_phase(self, event: Reported, now: float) -> None:
        """Take in that a task begins a phase, or has moved on inside one."""
        if event.event == "phase":
            self.phases.enter(event.task, Phase(event.details["phase"]), now)
            return
        since = self._active_at
        self.phases.moved(event, now)
        if event.details["phase"] == Phase.TRAIN:
            self._progress.moved(event.task, int(event.details.get("done", 0)), now, since)

    @property
    def _active_at(self) -> float:
        return max(self._progress.last_step_at, self.phases.changed_at)

    def ready(self, event: Reported, now: float) -> None:
        """Take in that a task is ready."""
        self._progress.note(event, now)
        self.phases.leave(event.task, now)
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
        if event.event == "finished":
            self.phases.leave(event.task, now)
        if is_formed and not self._leads and not self._progress.any_step:
            self._recovery.note_training(now)  # as far as is known here, if no task here reports steps

    def progressed(self, event: Reported, now: float) -> None:
        """Take in a report of steps; those of the leader count, or, if it runs elsewhere, those of any task."""
        if self.phases.of(event.task) is Phase.TRAIN:
            self._progress.learn(now - self._active_at)
        moved = self._progress.report(event.task, event.details, now)
        self.phases.enter(event.task, Phase.TRAIN, now)
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
        """Return the cause if nothing moved on for too long, once every task was inspected."""
        living = self._table.living(self._table.gang or self._table.states)
        if self.hangs.is_hanging(living, now) and (findings := self.hangs.inspect(self._table, living, now)):
            return self.hangs.cause(findings, now)
        return None

    def find_overdue(self, now: float) -> Cause | None:
        """Return the cause if a task stays in its phase for too long before all are ready, once all were inspected."""
        living = self._table.living(self._table.states)
        if self.phases.overdue(living, now) and (findings := self.hangs.inspect(self._table, living, now)):
            return self.hangs.cause(findings, now)
        return None

    def meets(self, task: Task, now: float) -> None:
        """Take in that a task has come to the rendezvous."""
        self.phases.leave(task, now)
        self.hangs.reset()

    def find_late(self, timeout: float, now: float) -> Cause | None:
        """Return the cause if tasks are not ready although ``timeout`` is over, once every task was inspected."""
        living = self._table.living(self._table.states)
        late = [task for task in living if self._table.states[task] is not TaskState.READY]
        if not late or self.phases.importing(late):  # ready or gone by now; or the bound of that phase counts
            return None
        findings = self.hangs.inspect(self._table, living, now)
        return Cause.not_formed(late, timeout, findings) if findings is not None else None
