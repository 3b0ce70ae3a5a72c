"""Mending: what a failure is answered with: another attempt, a worker less, or the end of the run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launcher.contract.task import Task
from launcher.supervise.elastic import Elastic
from launcher.supervise.events import Cause
from launcher.supervise.progress import Progress
from launcher.supervise.restarts import Restarts

_ADDRESS = re.compile("0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Answer:
    """What follows a failure. Without a pause there is no other attempt, and ``why`` may say the reason."""

    pause: float | None = None  # seconds
    leaves_out: Task | None = None  # the worker that the next attempt goes on without
    why: str = ""


@dataclass(frozen=True)
class _Own:
    """An error of the job's own code, after which the run was started again."""

    kind: object
    step: int
    attempt: int


class Mending:
    """Knows what has failed before; decides what can be mended. No clock, no processes."""

    def __init__(self, restarts: Restarts, elastic: Elastic, progress: Progress) -> None:
        self.restarts, self.elastic, self._progress = restarts, elastic, progress
        self.trained = False  # in any attempt; where the leader is elsewhere, whether all were ready to
        self._own: _Own | None = None

    def trains(self, now: float) -> None:
        """Note that a step was made; after long enough a time of them what has failed before no longer counts."""
        self.trained = True
        if self.restarts.trains(now):
            self.elastic.forget()

    def mends(self, cause: Cause) -> bool:
        """Whether starting again may help."""
        if cause.own:
            return self._progress.any and not self._repeats(cause)
        # Whoever dies before the first step would do so again; who follows another's death did not start it.
        return cause.mendable and (self.trained or cause.consequence)

    def _repeats(self, cause: Cause) -> bool:
        """Whether the job failed in the same way before, and came no further since."""
        before = self._own
        return bool(before and before.kind == _kind(cause) and self._progress.step <= before.step + self._progress.call)

    def _spares(self, cause: Cause) -> bool:
        """Whether all go on without the culprit."""
        return self.trained and self.elastic.gives_up(cause, restarts_left=self.restarts.left)

    def would_restart(self, cause: Cause) -> bool:
        """Whether all would start again after it, as far as can be told before the rest has ended."""
        return self._spares(cause) or (self.mends(cause) and self.restarts.left)

    def answer_alone(self, cause: Cause) -> Answer:
        """Decide for a task that the others can go on without while it starts again."""
        self.elastic.blame(cause.task)
        if self.elastic.gives_up(cause, restarts_left=self.restarts.left):
            return Answer(leaves_out=cause.task)
        return Answer(self.restarts.take())

    def answer(self, cause: Cause, attempt: int) -> Answer:
        """Decide for the whole cluster, whose attempt of that number has failed."""
        self.elastic.blame(cause.culprit)
        if self._spares(cause):
            return Answer(self.restarts.grant(), cause.culprit)
        if not self.mends(cause):
            again = cause.own and self._own
            return Answer(why=f"so it did in attempt {again.attempt}, at the same step" if again else "")
        pause = self.restarts.take()
        if pause is None:
            allowed = self.restarts.allowed
            return Answer(why=f"run.restarts ({allowed}) are used up" if allowed else "")
        if cause.own:
            self._own = _Own(_kind(cause), self._progress.step, attempt)
        return Answer(pause)


def _kind(cause: Cause) -> object:
    """Return what stays the same where an error comes again: its type and its place in the job's code, if it has one.

    A message may name an object by its address, which is another one in each process.
    """
    record = cause.record or {}
    return (record["type"], record["code"]) if record.get("code") else _ADDRESS.sub("0x", cause.error)
