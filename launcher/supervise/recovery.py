"""Recovery: carries out what is decided about a failure: one task restarts alone, all restart, or one is left out.

Until training continues the failure is an outage, whose cost is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.contract.task import Task
from launcher.supervise.causes import Cause
from launcher.supervise.lost_workers import LostWorkers
from launcher.supervise.progress import Progress
from launcher.supervise.restarts import Decision, RestartBudget, RestartPolicy
from launcher.supervise.task_table import TaskTable
from launcher.text import counted

# What a recovery consists of, in order; each part ends when its mark is set, and the last with the first step.
PARTS = ("stopping", "waiting", "starting", "meeting", "resuming")


@dataclass(frozen=True)
class Outage:
    """One failure that a restart is to recover from."""

    cause: Cause
    since: float  # when the failure was seen
    step: int  # the step that had been reached
    task: Task | None = None  # the one that restarts alone; None: all tasks do
    marks: dict[str, float] = field(default_factory=dict)  # when each part was over, of the last attempt

    def costs(self, resumed_at: int, now: float) -> dict[str, Any]:
        """Return what events.jsonl says of it: how many steps are repeated, and the seconds until training continues.

        ``resumed_at`` is the step of the checkpoint that training continues from.
        """
        costs = {"culprit": str(self.cause.culprit), "seconds": round(now - self.since, 3), "parts": self._parts(now)}
        if self.task:
            return costs | {"lost_steps": 0}
        return costs | {"lost_steps": max(0, self.step - resumed_at), "resumed_at": resumed_at}

    def _parts(self, now: float) -> Mapping[str, float]:
        """Return the seconds of each part, as far as its end is known: what is not is in the next one."""
        found, before = {}, self.since
        for part in PARTS:
            if (end := self.marks.get(part, now if part == PARTS[-1] else None)) is not None:
                found[part], before = round(end - before, 3), end
        return found


class Outages:
    """The outages that are not over yet."""

    def __init__(self) -> None:
        self._open: list[Outage] = []

    def begin(self, cause: Cause, now: float, step: int, task: Task | None = None) -> None:
        """Begin one; if all tasks fail again before they train, their outage is still that of the first failure."""
        if task or not any(outage.task is None for outage in self._open):
            self._open.append(Outage(cause, now, step, task))

    def lost_steps(self, resumed_at: int) -> int:
        """Return how many steps the whole cluster makes again, if it resumes from the checkpoint of that step."""
        return max((outage.step - resumed_at for outage in self._open if outage.task is None), default=0)

    def mark(self, part: str, task: Task | None, now: float) -> None:
        """Note that this part of the recovery of this task, or (None) of the whole cluster, is over."""
        for outage in self._open:
            if outage.task == task:
                outage.marks[part] = now

    def end(self, task: Task | None, resumed_at: int, now: float) -> Iterator[tuple[Cause, Mapping[str, Any]]]:
        """End those of this task, or (None) of the whole cluster; yields the cause and the costs of each."""
        for outage in [outage for outage in self._open if outage.task == task]:
            self._open.remove(outage)
            yield outage.cause, outage.costs(resumed_at, now)


class Recovery:
    """The restarts that are pending, the workers that were left out, and the costs of both."""

    def __init__(self, table: TaskTable, progress: Progress, budget: RestartBudget, lost_workers: LostWorkers) -> None:
        self._table, self._progress, self._budget, self._lost_workers = table, progress, budget, lost_workers
        self._policy = RestartPolicy(budget, lost_workers, progress)
        self._outages = Outages()
        self._pending: dict[Task, float] = {}  # when tasks that restart alone do so

    @property
    def is_pending(self) -> bool:
        """Whether a task waits to restart alone."""
        return bool(self._pending)

    def note_training(self, now: float) -> None:
        """Note that the run makes steps."""
        self._policy.note_training(now)

    def end_outage(self, task: Task | None, now: float) -> None:
        """Record what a restart has cost: of the task that restarted alone, or (None) of the whole cluster."""
        for cause, costs in self._outages.end(task, self._progress.resumed_at, now):
            self._table.record(task, "recovered", str(cause), costs)

    def begin_training(self, now: float) -> None:
        """Note that all tasks are ready again; say what is lost if there was no checkpoint to resume from."""
        self._outages.mark("meeting", None, now)
        lost = self._outages.lost_steps(self._progress.resumed_at)
        if lost and not self._progress.resumed_at:
            self._table.say(f"no checkpoint was complete: the run begins again, without its {counted(lost, 'step')}")

    def mark(self, part: str, task: Task | None, now: float) -> None:
        """Note how far the restart of this task, or (None) of the whole cluster, has come."""
        self._outages.mark(part, task, now)

    def restart_alone(self, cause: Cause, now: float) -> bool:
        """Restart the task alone, or leave it out; False if the others cannot continue without it."""
        role = self._table.roles[cause.task]
        follows = cause.consequence and role.joins_cluster  # of the end of a task that all others need
        if not role.restarts_alone or follows or not self._policy.is_retryable(cause):
            return False
        decision = self._policy.decide_alone(cause)
        if decision.leave_out:
            self.leave_out(decision.leave_out, str(cause))
        elif decision.pause is not None:
            self._pending[cause.task] = now + decision.pause
            self._outages.begin(cause, now, self._progress.step, cause.task)
            self.announce(cause, self._table.attempts[cause.task] + 1, decision.pause)
        return decision.continues

    def start_due(self, now: float) -> None:
        """Start the tasks that restart alone and whose pause is over."""
        for task in [task for task, at in self._pending.items() if now >= at]:
            del self._pending[task]
            self._outages.mark("waiting", task, now)
            self._table.attempts[task] += 1
            self._table.start(task)

    def cancel_pending(self) -> None:
        """Let tasks that wait to restart alone start with the others, or not at all."""
        self._pending.clear()

    def would_restart(self, cause: Cause) -> bool:
        """Whether all tasks would restart after it, as far as is known before the rest of them has ended."""
        return self._policy.would_restart(cause)

    def restart_all(self, cause: Cause, failed_at: float, now: float) -> Decision:
        """Decide whether all tasks restart, which ``announce`` then tells the user."""
        decision = self._policy.decide(cause, self._table.last_attempt)
        if decision.leave_out:
            self.leave_out(decision.leave_out, str(cause))
        if decision.pause is not None:
            self._outages.begin(cause, failed_at, self._progress.step)
            self._outages.mark("stopping", None, now)
        return decision

    def announce(self, cause: Cause, attempt: int, pause: float) -> None:
        """Tell the user when the next attempt starts, and why."""
        when = f"in {pause:.1f} s" if pause else "now"
        self._table.say(f"{cause}; attempt {attempt} starts {when} ({self._budget})")

    def leave_out(self, task: Task, why: str) -> None:
        """Continue without this worker, which may run on another machine."""
        if task in self._lost_workers.left_out:
            return  # the leader reports it as well, if it found out by itself
        if task in self._table.states:
            self._pending.pop(task, None)
            self._table.leave_out(task, why)
        self._table.say(f"{why}; {self._lost_workers.leave_out(task)}")
