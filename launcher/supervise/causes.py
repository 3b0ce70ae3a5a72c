"""Causes of a failure, and which of several came first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from launcher.contract.task import Task
from launcher.errors import PlacementError
from launcher.supervise.events import Exited, Inspected
from launcher.supervise.phases import Stay

_SUSPENDED = "suspended by a signal (SIGSTOP or Ctrl-Z)"
SUSPENDED = f"is {_SUSPENDED}"
_STACKS = "the logs have the stacks of all threads"


@dataclass(frozen=True)
class Cause:
    """One cause of a failure: which task, what happened, and when."""

    task: Task
    error: str
    time_ns: int = 0
    exit_code: int = 1
    record: Mapping[str, Any] | None = None  # the task's error.json
    consequence: bool = False  # of another task's end, as far as the error itself shows
    retryable: bool = False  # a restart may help
    from_training_code: bool = False  # an exception of the training code: one restart may help
    out_of_memory: bool = False  # the kernel killed the task, as far as it is known
    misplaced: bool = False  # the host no longer has the devices that the plan gives to the task
    peer: Task | None = None  # the task whose end this is the consequence of, if it is known

    @property
    def culprit(self) -> Task:
        """The task that the failure began with."""
        return self.peer or self.task

    @property
    def may_repeat(self) -> bool:
        """Whether a restart that comes no further will fail in the same way again, and again."""
        return self.from_training_code or self.out_of_memory

    def __str__(self) -> str:
        return self.described_as(f"{self.task}: ")

    def described_as(self, prefix: str) -> str:
        """Return the error with this prefix, which is omitted if the error itself begins with the culprit."""
        return self.error if self.error.startswith(f"{self.culprit} ") else f"{prefix}{self.error}"

    @classmethod
    def of(cls, event: Exited) -> Self:
        """Return the cause that a task's end is."""
        error = event.error
        if error is None:
            early = "exited with code 0 before the run was over; does the training code call exit()?"
            return cls(
                event.task,
                event.how or early,
                event.time_ns,
                retryable=event.code < 0 and not event.why,
                out_of_memory=bool(event.out_of_memory),
            )
        consequence = bool(error["consequence"])
        return cls(
            event.task,
            error["message"] if error.get("is_sentence") else f"{error['type']}: {error['message']}",
            event.time_ns,
            exit_code=int(error["exit_code"]),
            record=error,
            consequence=consequence,
            retryable=bool(error.get("mendable", consequence)),
            from_training_code=bool(error.get("own")),
            misplaced=error["type"] == f"{PlacementError.__module__}.{PlacementError.__qualname__}",
            peer=Task.parse(error["peer"]) if error.get("peer") else None,
        )

    def to_error(self) -> Mapping[str, Any]:
        """Return the error.json of a task that was killed before it could write one; the run ends with it."""
        sentence = {"type": "Killed", "message": self.error, "is_sentence": True}
        ends = {"consequence": False, "mendable": False, "exit_code": self.exit_code, "time_ns": self.time_ns}
        return {"task": str(self.task), "code": [], "traceback": "", **sentence, **ends}

    @classmethod
    def hang(cls, task: Task, timeout: float, bound: str, how: str) -> Self:
        """Return the cause if no step was made for ``timeout`` seconds, which is this bound.

        ``how`` says what the others wait for.
        """
        return cls(task, f"no step for {timeout:g} s ({bound}): {how}; {_STACKS}", retryable=True)

    @classmethod
    def overdue(cls, stay: Stay, timeout: float, found: Inspected) -> Self:
        """Return the cause if a task was in one phase for ``timeout`` seconds."""
        what = f"been in {stay.phase} for {timeout:g} s"
        if stay.skips:
            what = f"skipped no batch for {timeout:g} s, after {stay.done:,} of {stay.of:,}"
        where = f"; it is in {found.where}" if found.where else ""
        where = f"; it {SUSPENDED}" if found.suspended else where
        return cls(stay.task, f"{stay.task} has {what} (run.timeouts.{stay.phase}){where}; {_STACKS}", retryable=True)

    @classmethod
    def suspended(cls, task: Task) -> Self:
        """Return the cause if others end because a task that is suspended does not answer them.

        An error of a task's own comes before it, and all other consequences come after it.
        """
        return cls(task, f"{task} {SUSPENDED}", consequence=True, retryable=True)

    @classmethod
    def not_formed(cls, late: Sequence[Task], timeout: float, findings: Mapping[Task, Inspected]) -> Self:
        """Return the cause if these tasks were not ready after ``timeout`` seconds."""
        error = f"not ready after {timeout:g} s (run.start_timeout): {', '.join(map(str, late))}"
        suspended = [task for task, found in findings.items() if found.suspended]
        if suspended:
            error += f"; {_SUSPENDED}: {', '.join(map(str, suspended))}"
        return cls((suspended or late)[0], error, exit_code=3)


class Causes:
    """The causes of one attempt's failure."""

    def __init__(self) -> None:
        self._causes: list[Cause] = []
        self.since = 0.0  # when the first of them was seen

    def add(self, cause: Cause, now: float) -> None:
        """Add a cause."""
        if not self._causes:
            self.since = now
        self._causes.append(cause)

    def clear(self) -> None:
        """Forget all of them."""
        self._causes.clear()

    def explain(self, why: str) -> None:
        """Add to the first cause why it ends the run, and forget the others."""
        if self.first and why:
            self._causes = [replace(self.first, error=f"{self.first.error}; {why}")]

    @property
    def first(self) -> Cause | None:
        """The first cause: the earliest error that is not the consequence of another task's end."""
        return min(self._causes, key=lambda cause: (cause.consequence, cause.time_ns), default=None)

    @property
    def retryable(self) -> bool:
        """Whether every one of them is retryable."""
        return all(cause.retryable for cause in self._causes)
