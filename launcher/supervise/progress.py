"""Progress: how far every task has come, who is behind where nothing moves, and what a restart has cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.cluster.context import Task
from launcher.supervise.events import Cause, Seen


class Progress:
    """The steps of one attempt after another, as the tasks of this host tell them."""

    def __init__(self, leader: Task, trainers: Iterable[Task] = ()) -> None:
        """``trainers`` are the tasks of this host that report steps."""
        self._leader, self._trainers = leader, tuple(trainers)
        self.latest: Mapping[str, Any] = {}  # what the leader told last
        self.moved_at = 0.0  # when a step was made, in any task
        self.first_step_at: float | None = None
        self.any = False  # whether a task has made a step, in any attempt
        self.call = 0  # the most steps between two reports of this attempt
        self.base = 0  # the step that this attempt went on from
        self._steps: dict[Task, int] = {}  # of this attempt

    def begin(self, now: float) -> None:
        """Begin the next attempt."""
        self._steps.clear()
        self.call, self.base, self.moved_at = 0, 0, now

    def resumed(self, step: int) -> None:
        """Note the step of the checkpoint that this attempt goes on from; 0: from the beginning."""
        self.base = step

    def told(self, task: Task, details: Mapping[str, Any], now: float) -> bool:
        """Take in a report; whether it is progress, which one that repeats a step is not."""
        before, step = self._steps.get(task, self.base - 1), int(details["step"])
        if step <= before:
            return False
        self._steps[task], self.moved_at, self.any = step, now, True
        self.call = max(self.call, step - before)
        if task == self._leader:
            self.latest = details
            self.first_step_at = self.first_step_at or now
        return True

    @property
    def step(self) -> int:
        """The furthest step of this attempt."""
        return max(self._steps.values(), default=self.base)

    def culprit(self, seen: Mapping[Task, Seen]) -> tuple[Task, str]:
        """Return whom the others wait for where nothing moves, and how that shows.

        ``seen`` is what was seen of each task: one that stands still is the one; else one that is steps behind; else
        the only one that is in the job's own code while the others wait in TensorFlow.
        """
        for task, look in seen.items():
            if look.stands_still:
                return task, f"{task} stands still, stopped by a signal"
        steps = {task: self._steps.get(task, self.base) for task in self._trainers if task in seen}
        furthest = max(steps.values(), default=0)
        if behind := [task for task, step in steps.items() if step < furthest]:
            slowest = min(behind, key=lambda task: steps[task])
            where = f", in {seen[slowest].where}" if seen[slowest].where else ""
            return slowest, f"{slowest} is behind, at step {steps[slowest]} of {furthest}{where}"
        own = [task for task, look in seen.items() if look.where]
        if len(own) == 1 and len(seen) > 1:
            return own[0], f"the others wait for {own[0]}, which is in {seen[own[0]].where}"
        where = f", which is in {seen[self._leader].where}" if own and self._leader in own else ""
        return self._leader, f"every task is at step {furthest}; nobody is behind {self._leader}{where}"


@dataclass(frozen=True)
class Recovery:
    """A restart that is under way: what caused it, and what it costs until training goes on."""

    cause: Cause
    since: float  # when the failure was seen
    step: int  # that had been reached
    task: Task | None = None  # the one that starts again alone

    def costs(self, resumed_at: int, now: float) -> Mapping[str, Any]:
        """Return what events.jsonl says of it: the steps that are made again, and seconds until training goes on."""
        costs = {"culprit": str(self.cause.culprit), "seconds": round(now - self.since, 3)}
        if self.task:
            return costs | {"lost_steps": 0}
        return costs | {"lost_steps": max(0, self.step - resumed_at), "resumed_at": resumed_at}


class Recoveries:
    """The restarts that are under way."""

    def __init__(self) -> None:
        self._under_way: list[Recovery] = []

    def begin(self, cause: Cause, now: float, step: int, task: Task | None = None) -> None:
        """Begin one; a whole cluster that fails again before it trains still recovers from its first failure."""
        if task or not any(recovery.task is None for recovery in self._under_way):
            self._under_way.append(Recovery(cause, now, step, task))

    def over(self, task: Task | None, resumed_at: int, now: float) -> Iterator[tuple[Cause, Mapping[str, Any]]]:
        """End those of this task, or (None) of the whole cluster; yields the cause of each and what it has cost."""
        for recovery in [recovery for recovery in self._under_way if recovery.task == task]:
            self._under_way.remove(recovery)
            yield recovery.cause, recovery.costs(resumed_at, now)
