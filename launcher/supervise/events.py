"""What can happen to a run (events), what the launcher does about it (actions), and the states in between."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from launcher.contract.task import Task


class TaskState(Enum):
    """The state of one task."""

    PLANNED = "planned"
    STARTED = "started"
    MEETING = "meeting"  # at the rendezvous
    READY = "ready"  # its strategy or server exists
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"  # by the launcher, or because of another task's end: not a failure of its own
    LEFT_OUT = "left out"  # the others continue without it

    @property
    def alive(self) -> bool:
        """Whether the task has a process."""
        return self in (TaskState.STARTED, TaskState.MEETING, TaskState.READY)


class RunState(Enum):
    """The state of the run. A restart of all tasks is STOPPING, RESTARTING, then FORMING with the next attempt."""

    FORMING = "forming"  # until every task is ready
    TRAINING = "training"
    LEAVING = "leaving"  # the leader is done; the others exit by themselves
    STOPPING = "stopping"  # tasks are asked to end, then killed
    RESTARTING = "restarting"  # no task runs, except an evaluator; the next attempt starts after a pause
    OVER = "over"


# Events


@dataclass(frozen=True)
class Reported:
    """A task reported something; ``event`` is the kind of report, such as progress or ready."""

    task: Task
    event: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exited:
    """A task's process ended; a negative code is a signal. ``error`` is its error.json, if it left one.

    ``time_ns`` is when the error happened, or when the end was seen: nanoseconds of the wall clock.
    """

    task: Task
    code: int
    error: Mapping[str, Any] | None = None
    time_ns: int = 0
    why: str = ""  # if this process could not be started, or no process can be started any more
    out_of_memory: str = ""  # how it died of it, if the kernel killed it because memory ran out

    @property
    def how(self) -> str:
        """How it ended, in words; empty for exit code 0."""
        if self.why or self.out_of_memory:
            return self.why or self.out_of_memory
        if self.code < 0:
            return f"killed by {signal_name(-self.code)}"
        return f"exited with code {self.code}" if self.code else ""


def signal_name(number: int) -> str:
    """Return SIGTERM, or signal 37."""
    names = {known.value: known.name for known in signal.Signals}
    return names.get(number, f"signal {number}")  # real-time signals have no names


@dataclass(frozen=True)
class Signalled:
    """The launcher was asked to stop, by this signal."""

    number: int


@dataclass(frozen=True)
class Inspected:
    """What an inspection of a task found: whether its process is suspended, and where it is in the training code."""

    task: Task
    suspended: bool = False  # by SIGSTOP, or Ctrl-Z
    where: str = ""  # the innermost frame of the training code: train.py:12 (dataset); empty if there is none


@dataclass(frozen=True)
class Tick:
    """Time has passed, and nothing else happened."""


Event = Reported | Exited | Signalled | Inspected | Tick


# Actions


@dataclass(frozen=True)
class Start:
    """Start this task's process, as its attempt of that number."""

    task: Task
    attempt: int = 1


@dataclass(frozen=True)
class Kill:
    """Send this signal to the task's process group."""

    task: Task
    number: int


@dataclass(frozen=True)
class Inspect:
    """Have the stacks of this task's threads written to its log, and find out where it is."""

    task: Task
    can_answer: bool = True  # False: its Python is still starting, and would die of the signal that asks for stacks


@dataclass(frozen=True)
class ChoosePorts:
    """Choose other ports for the next attempt: remains of the last attempt may still hold the old ones."""


@dataclass(frozen=True)
class Abandon:
    """Count this task as ended: it was killed, and the kernel has not ended it for long."""

    task: Task


@dataclass(frozen=True)
class Record:
    """Write this change of state to events.jsonl; ``task`` is None for a state of the run."""

    task: Task | None
    state: str
    cause: str = ""
    details: Mapping[str, Any] | None = None
    attempt: int = field(default=0, compare=False)  # of the task, or the last of any


@dataclass(frozen=True)
class Say:
    """Show this line to the user."""

    text: str


Action = Start | Kill | Abandon | Inspect | ChoosePorts | Record | Say
