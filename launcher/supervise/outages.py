"""Outages: the time from a failure until training continues, and what it has cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.contract.task import Task
from launcher.supervise.causes import Cause

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
