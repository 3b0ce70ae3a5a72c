"""Stall: no step for run.stall_timeout. First every task is looked at, then the one that is behind is named."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from launcher.contract.task import Task
from launcher.supervise.events import Cause, Look, Seen
from launcher.supervise.progress import Progress

LOOK_GRACE = 5.0  # seconds to look at the tasks
FOLLOWER_GRACE = 20.0  # seconds that the launcher of the leader gets to name and end whom all wait for


class Stall:
    """Watches the progress of one attempt after another."""

    def __init__(self, timeout: float, progress: Progress, *, leads: bool = True) -> None:
        """``timeout`` is in seconds; ``leads``: the leader is a task of this host."""
        self._timeout, self._progress = timeout, progress
        self._patience = timeout if leads else timeout + FOLLOWER_GRACE
        self._looks: dict[Task, Seen] = {}
        self._until: float | None = None

    def begin(self) -> None:
        """Begin the next attempt."""
        self._until = None

    def is_there(self, living: Collection[Task], now: float) -> bool:
        """Whether nothing has moved for too long."""
        if now - self._progress.last_moved(living) >= self._patience:
            return True
        self._until = None
        return False

    def seen(self, look: Seen) -> None:
        """Take in what a look at one task has shown."""
        self._looks[look.task] = look

    def looks(self, living: Collection[Task], now: float, begun: Collection[Task]) -> Sequence[Look]:
        """Return the looks to take, once in each stall; ``begun`` are those that can be asked."""
        if self._until is not None:
            return ()
        self._until = now + LOOK_GRACE
        self._looks.clear()
        return [Look(task, answers=task in begun) for task in living]

    def seen_of(self, living: Collection[Task], now: float) -> Mapping[Task, Seen] | None:
        """Return what was seen of each, once every task was looked at or the time for that is over; None before."""
        if self._until is None or (now < self._until and not self._looks.keys() >= set(living)):
            return None
        return {task: self._looks.get(task, Seen(task)) for task in living}

    def cause(self, living: Collection[Task], now: float) -> Cause | None:
        """Return the cause, once it can be known."""
        seen = self.seen_of(living, now)
        if not seen:
            return None
        culprit, how = self._progress.culprit(seen)
        return Cause.stalled(culprit, self._timeout, how)
