"""What can happen to a run, what can follow from it, and the states in between."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

from launcher.contract.task import Task
from launcher.errors import PlacementError


class TaskState(Enum):
    """Where one task is on its way."""

    PLANNED = "planned"
    STARTED = "started"
    MEETING = "meeting"  # at the rendezvous
    READY = "ready"  # its strategy or server stands
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"  # by the launcher, which is no failure of its own
    LEFT_OUT = "left out"  # the others go on without it

    @property
    def alive(self) -> bool:
        """Whether the task has a process."""
        return self in (TaskState.STARTED, TaskState.MEETING, TaskState.READY)


class RunState(Enum):
    """Where the run is. A restart is STOPPING, RESTARTING, then FORMING again, with the next attempt."""

    FORMING = "forming"  # until every task is ready
    TRAINING = "training"
    LEAVING = "leaving"  # the leader is done; the others leave by themselves
    STOPPING = "stopping"  # tasks are asked to end, then killed
    RESTARTING = "restarting"  # none runs (but an evaluator), and the next attempt starts after a pause
    OVER = "over"


@dataclass(frozen=True)
class Told:
    """A task told something (launcher/runtime/reporter.py)."""

    task: Task
    event: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exited:
    """A task's process ended; a negative code is a signal. ``error`` is its error.json, where it left one.

    ``time_ns`` is when the error happened, or when the end was seen: nanoseconds of the wall clock.
    """

    task: Task
    code: int
    error: Mapping[str, Any] | None = None
    time_ns: int = 0
    why: str = ""  # no process can be started any more, or this one could not

    @property
    def how(self) -> str:
        """How it ended, as a person says it; empty for exit code 0."""
        if self.why:
            return self.why
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        return f"exit code {self.code}" if self.code else ""


@dataclass(frozen=True)
class Signalled:
    """The launcher was asked to stop."""

    number: int


@dataclass(frozen=True)
class Tick:
    """Nothing happened but time."""


@dataclass(frozen=True)
class Seen:
    """What a look at a task that hangs has shown: its process, and where its stacks are in the job's own code."""

    task: Task
    stands_still: bool = False
    where: str = ""


Event = Told | Exited | Signalled | Seen | Tick


@dataclass(frozen=True)
class Start:
    """Start this task's process, for the so manieth time."""

    task: Task
    attempt: int = 1


@dataclass(frozen=True)
class Kill:
    """Send this signal to the task's group."""

    task: Task
    number: int


@dataclass(frozen=True)
class Look:
    """Have the stacks of this task's threads written to its log, and see where it is."""

    task: Task
    answers: bool = True  # it has begun, and would not die of being asked


@dataclass(frozen=True)
class Renew:
    """Choose other ports for the next attempt: those of the last may still be taken by what is left of it."""


@dataclass(frozen=True)
class Record:
    """Write this change of state to events.jsonl; ``task`` is None where it is the run's."""

    task: Task | None
    state: str
    cause: str = ""
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Say:
    """Show this line to whoever watches."""

    text: str


Action = Start | Kill | Look | Renew | Record | Say


@dataclass(frozen=True)
class Cause:
    """One cause of a failure: which task, what happened, and when."""

    task: Task
    error: str
    time_ns: int = 0
    exit_code: int = 1
    record: Mapping[str, Any] | None = None  # the task's error.json
    consequence: bool = False  # of another task's end, as far as the error itself tells
    mendable: bool = False  # starting again may help
    own: bool = False  # an exception of the job's own code: starting again may help once
    misplaced: bool = False  # the host no longer has what was placed on it
    peer: Task | None = None  # whose end it is the consequence of, where that is known

    @property
    def culprit(self) -> Task:
        """The task that this goes back to."""
        return self.peer or self.task

    def __str__(self) -> str:
        return self.said_as(f"{self.task}: ")

    def said_as(self, who: str) -> str:
        """Return the error behind these words, which are left out where it tells of another task by itself."""
        return self.error if self.error.startswith(f"{self.culprit} ") else f"{who}{self.error}"

    @classmethod
    def of(cls, event: Exited) -> Self:
        """Return what a task's end is the cause of."""
        error = event.error
        if error is None:
            ended = "ended with exit code 0 before the run was over; does the job call exit()?"
            return cls(event.task, event.how or ended, event.time_ns, mendable=event.code < 0 and not event.why)
        consequence = bool(error["consequence"])
        return cls(
            event.task,
            error["message"] if error.get("is_sentence") else f"{error['type']}: {error['message']}",
            event.time_ns,
            exit_code=int(error["exit_code"]),
            record=error,
            consequence=consequence,
            mendable=bool(error.get("mendable", consequence)),
            own=bool(error.get("own")),
            misplaced=error["type"] == PlacementError.__name__,
            peer=Task.parse(error["peer"]) if error.get("peer") else None,
        )

    @classmethod
    def stalled(cls, task: Task, timeout: float, how: str) -> Self:
        """Return the cause where no step was made for that many seconds; ``how`` says whom the others wait for."""
        error = f"no step for {timeout:g} s (run.stall_timeout): {how}; the logs have the stacks of all threads"
        return cls(task, error, mendable=True)
