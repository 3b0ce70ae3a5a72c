"""Phases: which phase each task of this host is in, and since when nothing has moved on in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.contract.phases import Phase
from launcher.contract.task import Task
from launcher.supervise.events import Reported


@dataclass(frozen=True)
class Stay:
    """A task in a phase, ``since`` it began or last moved on; so many of its batches or steps are ``done``."""

    task: Task
    phase: Phase
    since: float
    done: int = 0
    of: int = 0

    @property
    def skips(self) -> bool:
        """Whether the task skips the batches that a resumed run has seen before."""
        return self.phase is Phase.DATA and bool(self.of)


class Phases:
    """The phases of one attempt after another; a task that has told none is in none."""

    def __init__(self, timeouts: Mapping[Phase, float] | None = None) -> None:
        """``timeouts`` are seconds by phase, for all but a step's."""
        self.timeouts = timeouts or {}
        self._stays: dict[Task, Stay] = {}
        self.changed_at = 0.0  # when a task entered or left a phase, or moved on in one

    def begin(self) -> None:
        """Begin the next attempt."""
        self._stays.clear()

    def enter(self, task: Task, phase: Phase, now: float) -> None:
        """Take in that a task begins a phase."""
        self.changed_at = now
        self._stays[task] = Stay(task, phase, now)

    def moved(self, event: Reported, now: float) -> None:
        """Take in that a task has moved on inside its phase."""
        self.changed_at = now
        done, of = (int(event.details.get(name, 0)) for name in ("done", "of"))
        self._stays[event.task] = Stay(event.task, Phase(event.details["phase"]), now, done, of)

    def leave(self, task: Task, now: float) -> None:
        """Take in that a task is in no phase any more."""
        if self._stays.pop(task, None):
            self.changed_at = now

    def of(self, task: Task) -> Phase | None:
        """Return the phase of a task, if it has told one."""
        return self._stays[task].phase if task in self._stays else None

    def importing(self, tasks: Collection[Task]) -> Collection[Task]:
        """Return those of the tasks that are still importing."""
        return [stay.task for stay in self._bounded(tasks) if stay.phase is Phase.IMPORT]

    def overdue(self, tasks: Collection[Task], now: float) -> list[Stay]:
        """Return the tasks whose phase has taken too long, that for which it is longest first."""
        late = [stay for stay in self._bounded(tasks) if now - stay.since >= self.timeouts[stay.phase]]
        return sorted(late, key=lambda stay: stay.since)

    def hold(self, tasks: Collection[Task]) -> bool:
        """Whether one of the tasks is in a phase without steps, for which others may have to wait."""
        return any(self._bounded(tasks))

    def shown(self, tasks: Sequence[Task]) -> Mapping[str, Any]:
        """Return what the live line shows of these tasks: the phase of the first that makes no steps now.

        ``waits_for`` is there if the very first of them waits for another one.
        """
        stay = next(self._bounded(tasks), None)
        if stay is None:
            return {}
        skipped = {"skipped": stay.done, "to_skip": stay.of} if stay.skips else {}
        return {"phase": stay.phase, **skipped, **({"waits_for": str(stay.task)} if stay.task != tasks[0] else {})}

    def _bounded(self, tasks: Collection[Task]) -> Iterator[Stay]:
        stays = (self._stays[task] for task in tasks if task in self._stays)
        return (stay for stay in stays if stay.phase in self.timeouts)
