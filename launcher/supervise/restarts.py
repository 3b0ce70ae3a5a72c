"""Restarts: how many a run may have, how long it waits before each, and which failures they can help."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from launcher.contract.task import Task
from launcher.supervise.causes import Cause
from launcher.supervise.lost_workers import LostWorkers
from launcher.supervise.progress import Progress

_FIRST, _LONGEST = 1.0, 30.0  # seconds to wait before the second restart, and at most; before jitter
HEALTHY = 600.0  # seconds of training, from the first step after a restart, after which earlier restarts do not count
_ADDRESS = re.compile("0x[0-9a-fA-F]+")


def exhausted(allowed: int) -> str:
    """Return what to tell the user once all restarts were used."""
    return f"restarts exhausted (run.restarts: {allowed})"


class RestartBudget:
    """The restarts that run.restarts allows.

    The first one after a healthy stretch is immediate. There is a pause before the second, and one twice as long before
    each further one, times 0.5 to 1.5. The jitter matters if several launchers restart their parts of one cluster:
    without it, they would collide again and again.
    """

    def __init__(self, allowed: int, jitter: Callable[[], float] = random.random) -> None:
        """``jitter`` returns numbers from 0 to 1."""
        self.allowed, self.used = allowed, 0
        self._kept = 0  # how many of those used are so until the end of the run
        self._jitter = jitter
        self._trained_since: float | None = None  # the first step after the last restart

    @property
    def has_left(self) -> bool:
        """Whether there is a restart left."""
        return self.used < self.allowed

    def note_training(self, now: float) -> bool:
        """Note that a step was made at ``now``, in seconds of a monotonic clock; whether the budget is full again.

        Only training refills it. If time alone did, a run whose every attempt ends in a hang would restart for ever.
        """
        if self._trained_since is None:
            self._trained_since = now
        if now - self._trained_since < HEALTHY:
            return False
        self.used = self._kept
        return True

    def spend(self, *, for_good: bool = False) -> float | None:
        """Spend one restart; return the seconds to wait before it, or None if none is left.

        ``for_good``: no training refills it.
        """
        if not self.has_left:
            return None
        self.used, self._kept = self.used + 1, self._kept + for_good
        return self.pause()

    def pause(self) -> float:
        """Return the seconds to wait before a restart, which this does not spend."""
        self._trained_since = None
        return min(_FIRST * 2.0 ** (self.used - 2), _LONGEST) * (0.5 + self._jitter()) if self.used > 1 else 0.0

    def __str__(self) -> str:
        return f"restart {self.used} of {self.allowed}"


@dataclass(frozen=True)
class Decision:
    """What follows from a failure. Without a pause there is no restart, and ``why`` may say the reason."""

    pause: float | None = None  # seconds before the restart
    leave_out: Task | None = None  # the worker that the run continues without
    why: str = ""

    @property
    def continues(self) -> bool:
        """Whether the run continues."""
        return self.pause is not None or self.leave_out is not None


@dataclass(frozen=True)
class _Failure:
    """A failure that may repeat, after which the run was restarted."""

    kind: object
    step: int
    attempt: int


class RestartPolicy:
    """Decides what follows from a failure: a restart, a worker less, or the end of the run."""

    def __init__(self, budget: RestartBudget, lost_workers: LostWorkers, progress: Progress) -> None:
        self._budget, self._lost_workers, self._progress = budget, lost_workers, progress
        self.trained = False  # a step was made in any attempt; or all were ready, if the leader runs elsewhere
        self._last: _Failure | None = None

    def note_training(self, now: float) -> None:
        """Note that a step was made; after long enough a time of training, earlier failures do not count."""
        self.trained = True
        if self._budget.note_training(now):
            self._lost_workers.reset()

    def is_retryable(self, cause: Cause) -> bool:
        """Whether a restart may help."""
        if self._repeats(cause):
            return False
        if cause.from_training_code:
            return self._progress.any_step
        # A task that dies before the first step would do so again, unless it only followed another one's death.
        return cause.retryable and (self.trained or cause.consequence)

    def would_restart(self, cause: Cause) -> bool:
        """Whether all tasks would restart after it, as far as is known before the rest of them has ended."""
        return self._should_leave_out(cause) or (self.is_retryable(cause) and self._budget.has_left)

    def decide_alone(self, cause: Cause) -> Decision:
        """Decide about a task that the others can continue without while it restarts."""
        self._lost_workers.note_failure(cause.task)
        if self._lost_workers.should_leave_out(cause, restarts_left=self._budget.has_left):
            return Decision(leave_out=cause.task)
        # The steps of the others do not show that this task comes any further, so ten minutes of them forgive nothing.
        return Decision(self._budget.spend(for_good=cause.out_of_memory))

    def decide(self, cause: Cause, attempt: int) -> Decision:
        """Decide about the whole cluster, whose attempt of that number has failed."""
        self._lost_workers.note_failure(cause.culprit)
        if self._should_leave_out(cause):
            return Decision(self._budget.pause(), cause.culprit)
        if not self.is_retryable(cause):
            before = cause.may_repeat and self._last
            return Decision(why=f"same failure as in attempt {before.attempt}, at the same step" if before else "")
        pause = self._budget.spend()
        if pause is None:
            return Decision(why=exhausted(self._budget.allowed) if self._budget.allowed else "")
        if cause.may_repeat:
            self._last = _Failure(_kind(cause), self._progress.step, attempt)
        return Decision(pause)

    def _should_leave_out(self, cause: Cause) -> bool:
        may_help = self._budget.has_left and not self._repeats(cause)
        return self.trained and self._lost_workers.should_leave_out(cause, restarts_left=may_help)

    def _repeats(self, cause: Cause) -> bool:
        """Whether it failed in the same way before, and has not come further since."""
        before, progress = self._last, self._progress
        if before is None or not cause.may_repeat:
            return False
        return bool(before.kind == _kind(cause) and progress.step <= before.step + progress.most_steps)


def _kind(cause: Cause) -> object:
    """Return what is the same if a failure repeats: its type and its place in the training code, if it has one.

    A message may contain an object's address, which differs from process to process.
    """
    if cause.out_of_memory:
        return "out of memory"  # of any task: they share the machine's
    record = cause.record or {}
    return (record["type"], record["code"]) if record.get("code") else _ADDRESS.sub("0x", cause.error)
