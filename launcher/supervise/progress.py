"""Progress: how far every task has come, and which one the others wait for if there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from launcher.contract.task import Task
from launcher.supervise.causes import SUSPENDED
from launcher.supervise.events import Inspected, Reported


class Progress:
    """The steps of one attempt after another, as the tasks of this host report them."""

    def __init__(self, leader: Task, trainers: Iterable[Task] = ()) -> None:
        """``trainers`` are the tasks of this host that report steps."""
        self._leader, self._trainers = leader, tuple(trainers)
        self.latest: Mapping[str, Any] = {}  # the leader's last report
        self.last_step_at = 0.0  # when a step was made, in any task
        self.first_step_at: float | None = None
        self.any_step = False  # whether a task has made a step, in any attempt
        self.most_steps = 0  # between two reports of this attempt
        self.longest_gap = 0.0  # seconds between two reports of this attempt, not counting the first
        self.longest_step = 0.0  # seconds in which no step ended while steps were made, in any attempt
        self._reported_at = 0.0
        self.resumed_at = 0  # the step that this attempt began with
        self._steps: dict[Task, int] = {}  # of this attempt
        self._steps_inside: dict[Task, int] = {}  # steps of a call that has not ended yet
        self._finished: set[Task] = set()  # tasks that have made their last step
        self._busy: tuple[Task, ...] = ()  # asynchronous workers that are computing steps
        self._heartbeats: dict[Task, float] = {}

    def begin(self, now: float) -> None:
        """Begin the next attempt."""
        for known in (self._steps, self._finished, self._heartbeats):
            known.clear()
        self._busy = ()
        self.most_steps, self.longest_gap, self.resumed_at, self.last_step_at = 0, 0.0, 0, now
        self._steps_inside.clear()

    def resume(self, step: int) -> None:
        """Note the step of the checkpoint that this attempt resumes from; 0: it begins anew."""
        self.resumed_at = step

    def report(self, task: Task, details: Mapping[str, Any], now: float) -> bool:
        """Take in a report of steps; return whether it is progress, and not a step that was reported before."""
        before, step = self._steps.get(task, self.resumed_at - 1), int(details["step"])
        if step <= before:
            return False
        if self._steps:
            self.longest_gap = max(self.longest_gap, now - self._reported_at)
        self._steps[task], self.last_step_at, self.any_step = step, now, True
        self._reported_at = now
        self.most_steps = max(self.most_steps, step - before)
        if task == self._leader:
            self.latest = details
            self.first_step_at = self.first_step_at or now
        return True

    def learn(self, seconds: float) -> None:
        """Take in how long nothing was heard of a step until one was made; the first of an attempt does not count."""
        if self._steps or self._steps_inside:
            self.longest_step = max(self.longest_step, seconds)

    def moved(self, task: Task, step: int, now: float, since: float) -> None:
        """Take in that a call, which has not ended yet, has come to this step; the last sign of one came ``since``."""
        self.learn(now - since)
        self.last_step_at = now
        self._steps_inside[task] = step

    def note(self, event: Reported, now: float) -> None:
        """Take in a heartbeat, that a task has made its last step, or which workers are computing steps."""
        self._heartbeats[event.task] = now
        if event.event == "finished":
            self._finished.add(event.task)
        elif event.event == "busy":
            self._busy = tuple(map(Task.parse, event.details["workers"]))

    def heard_at(self, task: Task) -> float:
        """Return when the task sent its last heartbeat; 0 if it has sent none."""
        return self._heartbeats.get(task, 0.0)

    @property
    def has_steps_left(self) -> bool:
        """Whether a task of this host has steps to make; also if no task here makes any, so that only others have."""
        return not self._trainers or any(task not in self._finished for task in self._trainers)

    def last_activity(self, living: Iterable[Task]) -> float:
        """Return when the last step was made, or, if no task here makes steps, the oldest of the last heartbeats."""
        if self._trainers:
            return self.last_step_at
        return min((self._heartbeats.get(task, self.last_step_at) for task in living), default=self.last_step_at)

    def _come_to(self, task: Task) -> int:
        return max(self._steps.get(task, self.resumed_at), self._steps_inside.get(task, 0))

    @property
    def has_steps(self) -> bool:
        """Whether a step was made in this attempt, or none can be seen here."""
        return bool(self._steps or self._steps_inside or not self._trainers)

    @property
    def shown(self) -> Mapping[str, Any]:
        """The leader's last report, with the step that it has come to inside a call since then."""
        if self.latest or self._steps_inside.get(self._leader):
            return {"figures": {}, **self.latest, "step": self._come_to(self._leader)}
        return {}

    @property
    def step(self) -> int:
        """The furthest step of this attempt."""
        return max(self._steps.values(), default=self.resumed_at)

    def culprit(self, findings: Mapping[Task, Inspected]) -> tuple[Task, str]:
        """Return which task the others wait for if there is no progress, and what shows it.

        It is one that is suspended; else one that is steps behind; else the only one that is in the training code while
        the others wait in TensorFlow; else the only asynchronous worker that is computing steps.
        """
        for task, found in findings.items():
            if found.suspended:
                return task, f"{task} {SUSPENDED}"
        steps = {task: self._come_to(task) for task in self._trainers if task in findings}
        furthest = max(steps.values(), default=0)
        if behind := [task for task, step in steps.items() if step < furthest]:
            slowest = min(behind, key=lambda task: steps[task])
            where = f", in {findings[slowest].where}" if findings[slowest].where else ""
            return slowest, f"{slowest} is behind, at step {steps[slowest]} of {furthest}{where}"
        in_code = [task for task, found in findings.items() if found.where]
        if len(in_code) == 1 and len(findings) > 1:
            return in_code[0], f"the others wait for {in_code[0]}, which is in {findings[in_code[0]].where}"
        if len(self._busy) == 1 and not in_code:
            return self._busy[0], f"{self._busy[0]} has not finished its current steps; no other worker is busy"
        if not self._trainers:
            silent = min(findings, key=lambda task: self._heartbeats.get(task, 0.0))
            return silent, f"no heartbeat from {silent}"
        first = self._leader if self._leader in findings else next(iter(findings))
        where = f"; {first} is in {findings[first].where}" if findings[first].where else ""
        return first, f"all tasks are at step {furthest}, so none of them can be named as the cause{where}"
