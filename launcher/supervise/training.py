"""Training: what follows from the reports of the tasks while they train: progress, stragglers, hangs, recovery."""

from __future__ import annotations

import signal
from collections.abc import Collection, Mapping
from typing import Any

from launcher.contract.phases import Phase
from launcher.contract.task import Task
from launcher.supervise.causes import Cause
from launcher.supervise.events import Inspected, Reported, TaskState
from launcher.supervise.hangs import HangDetector, Patience
from launcher.supervise.phases import Phases
from launcher.supervise.progress import Progress
from launcher.supervise.recovery import Recovery
from launcher.supervise.stragglers import Stragglers
from launcher.supervise.task_table import TaskTable

_EVALUATOR_SILENCE = 60.0  # seconds without a heartbeat after which an evaluator is not waited for any longer


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
        # Nobody waits for an evaluator, and what it does puts off no other task's bound.
        self._lone_phases = Phases(patience.phases)
        self._lone_hangs = HangDetector(patience, progress, self._lone_phases)

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
            self._phases_of(event.task).enter(event.task, Phase(event.details["phase"]), now)
            return
        since = self._active_at
        self.phases.moved(event, now)
        if event.details["phase"] == Phase.TRAIN:
            self._progress.moved(event.task, int(event.details.get("done", 0)), now, since)

    def _phases_of(self, task: Task) -> Phases:
        return self.phases if self._table.roles[task].joins_cluster else self._lone_phases

    @property
    def _active_at(self) -> float:
        return max(self._progress.last_step_at, self.phases.changed_at)

    def ready(self, event: Reported, now: float) -> None:
        """Take in that a task is ready."""
        self._progress.note(event, now)
        self._phases_of(event.task).leave(event.task, now)
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
        if event.event in ("finished", "idle"):
            self._phases_of(event.task).leave(event.task, now)
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
        """Return the cause if a task stays in its phase for too long, once every task was inspected.

        It counts while no steps are due: before all are ready, and after the leader has reported its result.
        """
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
        if not late or any(self._phases_of(task).importing([task]) for task in late):
            return None  # ready or gone by now; or the bound of that phase counts
        findings = self.hangs.inspect(self._table, living, now)
        return Cause.not_formed(late, timeout, findings) if findings is not None else None

    def note(self, found: Inspected) -> None:
        """Note what the inspection of one task found."""
        self.hangs.note(found)
        self._lone_hangs.note(found)

    def end_overdue_evaluator(self, now: float) -> None:
        """Kill an evaluator that stays in its phase for too long, once it was inspected; it restarts alone."""
        late = self._lone_phases.overdue(self._evaluators, now)
        if late and (findings := self._lone_hangs.inspect(self._table, [late[0].task], now)):
            cause = self._lone_hangs.cause(findings, now)
            self._table.say(str(cause))
            self._table.kill([cause.task], signal.SIGKILL)
            self._lone_phases.leave(cause.task, now)
            self._lone_hangs.reset()

    @property
    def evaluated_at(self) -> float:
        """When an evaluator last began to score a checkpoint, or had done so."""
        return self._lone_phases.changed_at

    def evaluates(self, now: float) -> bool:
        """Whether an evaluator scores a checkpoint within the bound of that, and gives signs of life."""
        busy = [task for task in self._evaluators if self._lone_phases.of(task)]
        late = {stay.task for stay in self._lone_phases.overdue(busy, now)}
        return any(task not in late and now - self._progress.heard_at(task) < _EVALUATOR_SILENCE for task in busy)

    @property
    def _evaluators(self) -> Collection[Task]:
        return [task for task in self._table.living(self._table.roles) if not self._table.roles[task].joins_cluster]
