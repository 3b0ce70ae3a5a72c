"""Progress: how far every task has come, who is behind where nothing moves, and what a restart has cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.contract.task import Task
from launcher.supervise.events import Cause, Seen, Told


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
        self.longest = 0.0  # seconds between two reports of this attempt, without the first call
        self.base = 0  # the step that this attempt went on from
        self._steps: dict[Task, int] = {}  # of this attempt
        self._finished: set[Task] = set()  # tasks that have made their last step
        self._busy: tuple[Task, ...] = ()  # asynchronous workers that are in the middle of a call
        self._heard: dict[Task, float] = {}  # when tasks that make no steps said that they live

    def begin(self, now: float) -> None:
        """Begin the next attempt."""
        for known in (self._steps, self._finished, self._heard):
            known.clear()
        self._busy = ()
        self.call, self.longest, self.base, self.moved_at = 0, 0.0, 0, now

    def resumed(self, step: int) -> None:
        """Note the step of the checkpoint that this attempt goes on from; 0: from the beginning."""
        self.base = step

    def told(self, task: Task, details: Mapping[str, Any], now: float) -> bool:
        """Take in a report; whether it is progress, which one that repeats a step is not."""
        before, step = self._steps.get(task, self.base - 1), int(details["step"])
        if step <= before:
            return False
        if self._steps:
            self.longest = max(self.longest, now - self.moved_at)
        self._steps[task], self.moved_at, self.any = step, now, True
        self.call = max(self.call, step - before)
        if task == self._leader:
            self.latest = details
            self.first_step_at = self.first_step_at or now
        return True

    def noted(self, event: Told, now: float) -> None:
        """Take in that a task lives, has made its last step, or which workers are in the middle of a call."""
        self._heard[event.task] = now
        if event.event == "finished":
            self._finished.add(event.task)
        elif event.event == "busy":
            self._busy = tuple(map(Task.parse, event.details["workers"]))

    @property
    def goes_on(self) -> bool:
        """Whether a task of this host has steps to make, or only waits for what others do."""
        return not self._trainers or any(task not in self._finished for task in self._trainers)

    def last_moved(self, living: Iterable[Task]) -> float:
        """Return when something moved last: a step in any task, or the sign of life of whoever makes none."""
        if self._trainers:
            return self.moved_at
        return min((self._heard.get(task, self.moved_at) for task in living), default=self.moved_at)

    @property
    def step(self) -> int:
        """The furthest step of this attempt."""
        return max(self._steps.values(), default=self.base)

    def culprit(self, seen: Mapping[Task, Seen]) -> tuple[Task, str]:
        """Return whom the others wait for where nothing moves, and how that shows.

        ``seen`` is what was seen of each task: one that stands still is the one; else one that is steps behind; else
        the only one that is in the job's own code while the others wait in TensorFlow; else the only asynchronous
        worker that has not come to the end of its call.
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
        if len(self._busy) == 1 and not own:
            return self._busy[0], f"{self._busy[0]} has not come to the end of its call, and no other is in one"
        if not self._trainers:
            silent = min(seen, key=lambda task: self._heard.get(task, 0.0))
            return silent, f"{silent} has not said that it lives"
        first = self._leader if self._leader in seen else next(iter(seen))
        where = f", which is in {seen[first].where}" if seen[first].where else ""
        return first, f"every task is at step {furthest}; nobody is behind {first}{where}"


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
