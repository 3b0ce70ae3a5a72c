"""Comeback: how a run goes on after a failure. One task starts again alone, or all do, or one is left out."""

from __future__ import annotations

from launcher.contract.task import Task
from launcher.supervise.elastic import Elastic
from launcher.supervise.events import Cause
from launcher.supervise.mending import Answer, Mending
from launcher.supervise.progress import Progress, Recoveries
from launcher.supervise.restarts import Restarts
from launcher.supervise.roster import Roster


class Comeback:
    """What of a run is to start again, what was left out, and what that has cost."""

    def __init__(self, roster: Roster, progress: Progress, restarts: Restarts, elastic: Elastic) -> None:
        self._roster, self._progress, self._restarts, self.elastic = roster, progress, restarts, elastic
        self._mending = Mending(restarts, elastic, progress)
        self._recoveries = Recoveries()
        self._alone: dict[Task, float] = {}  # when tasks that start again alone do so

    @property
    def is_awaited(self) -> bool:
        """Whether a task will start again alone."""
        return bool(self._alone)

    def trains(self, now: float) -> None:
        """Note that the run makes steps."""
        self._mending.trains(now)

    def recovered(self, task: Task | None, now: float) -> None:
        """Write down what a restart has cost: of the task that came back alone, or (None) of the whole cluster."""
        for cause, costs in self._recoveries.over(task, self._progress.base, now):
            self._roster.record(task, "recovered", str(cause), costs)

    def alone(self, cause: Cause, now: float) -> bool:
        """Start the task again alone, or leave it out; False where the others cannot go on without it."""
        role = self._roster.roles[cause.task]
        follows = cause.consequence and role.joins_cluster  # of the end of a task that all need
        if not role.restarts_alone or follows or not self._mending.mends(cause):
            return False
        answer = self._mending.answer_alone(cause)
        if answer.leaves_out:
            self.leave_out(answer.leaves_out, str(cause))
        elif answer.pause is not None:
            self._alone[cause.task] = now + answer.pause
            self._recoveries.begin(cause, now, self._progress.step, cause.task)
            self.announce(cause, self._roster.attempts[cause.task] + 1, answer.pause)
        return answer != Answer()

    def start_who_is_due(self, now: float) -> None:
        """Start the tasks that start again alone and whose time has come."""
        for task in [task for task, at in self._alone.items() if now >= at]:
            del self._alone[task]
            self._roster.start(task, self._roster.attempts[task] + 1)

    def forget_who_waits(self) -> None:
        """Let whoever waits start with the others, or not at all."""
        self._alone.clear()

    def would_be(self, cause: Cause) -> bool:
        """Whether all would start again after it, as far as can be told before the rest has ended."""
        return self._mending.would_restart(cause)

    def of_all(self, cause: Cause, failed_at: float) -> Answer:
        """Decide whether all start again, which ``announce`` tells."""
        answer = self._mending.answer(cause, self._roster.attempt)
        if answer.leaves_out:
            self.leave_out(answer.leaves_out, str(cause))
        if answer.pause is not None:
            self._recoveries.begin(cause, failed_at, self._progress.step)
        return answer

    def announce(self, cause: Cause, attempt: int, pause: float) -> None:
        """Say when the next attempt starts, and why."""
        self._roster.say(f"{cause}; attempt {attempt} starts in {pause:.1f} s ({self._restarts})")

    def leave_out(self, task: Task, why: str) -> None:
        """Go on without this worker, here or on another machine."""
        if task in self.elastic.left_out:
            return  # a leader that had not heard of it yet tells of it too
        if task in self._roster.states:
            self._alone.pop(task, None)
            self._roster.dismiss(task, why)
        self._roster.say(f"{why}; {self.elastic.leave_out(task)}")
