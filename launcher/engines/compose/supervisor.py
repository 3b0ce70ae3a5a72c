"""ContainerSupervisor: a state machine over a run's containers; it decides which restart and when the run is over.

``observe`` takes what the engine says of every container and the time, and returns what follows. There is no engine and
no clock in here.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from launcher.contract.roles import Quorum, Role
from launcher.contract.task import Task
from launcher.host.out_of_memory import MORE_MEMORY
from launcher.supervise.events import Say
from launcher.supervise.restarts import HEALTHY, exhausted
from launcher.text import size

LEAVE_GRACE = 15.0  # seconds for containers to end by themselves once the leader's has ended
PAUSE_GRACE = 15.0  # seconds that a container may be paused; for the other tasks it is lost a little later
LOSS_GRACE = 60.0  # seconds on top of start_timeout: the leader decides better what a loss means
# What a launcher ends with by its own decision, so that a restart of its container would not help.
_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_DECIDED = (0, 1, 2, 3, *_STOPPED)


@dataclass(frozen=True)
class Container:
    """What the engine says of one task's container."""

    identifier: str
    state: str  # the engine's word: created, running, paused, restarting, exited, removing or dead
    exit_code: int = 0
    started_at: str = ""  # RFC 3339
    out_of_memory: bool = False  # the kernel killed a process in it for that reason
    memory: int = 0  # bytes that it may use; 0: no limit

    @property
    def ended(self) -> bool:
        """Whether it does not run, and the engine does not restart it."""
        return self.state in ("exited", "dead")

    @property
    def was_killed(self) -> bool:
        """Whether a signal ended it that its launcher knows nothing of: SIGKILL, out of memory, a crash."""
        return self.ended and self.exit_code > 128 and self.exit_code not in _STOPPED

    @property
    def death(self) -> str:
        """How it was killed, in words."""
        killed = f"its container was killed (exit code {self.exit_code})"
        if not self.out_of_memory:  # which the engine says of any process in it
            return killed
        limit = f"limit of the container: {size(self.memory)}" if self.memory else "the container has no limit"
        return f"{killed}, and memory had run out in it ({limit}); {MORE_MEMORY}"


@dataclass(frozen=True)
class RestartContainer:
    """Restart this task's container."""

    task: Task
    kill: bool = False  # it still runs


Action = RestartContainer | Say


@dataclass(frozen=True)
class Loss:
    """A container that the run cannot do without has ended for good."""

    task: Task
    error: str
    exit_code: int
    give_up_at: float


class ContainerSupervisor:
    """The containers of one run, and what to do next."""

    def __init__(self, roles: Mapping[Task, Role], quorum: Quorum, restarts: int, start_timeout: float) -> None:
        """``restarts`` is how many containers may be restarted, until for ten minutes none was."""
        self._roles, self._quorum, self._leader = roles, quorum, quorum.leader
        self._allowed, self._used, self._restarted_at = restarts, 0, 0.0
        self._kept = 0  # restarts after memory ran out, which no time makes undone
        self._patience = start_timeout + LOSS_GRACE
        self._ended: set[Task] = set()  # for good
        self._paused_at: dict[Task, float] = {}
        self._loss: Loss | None = None
        self._over_at: float | None = None
        self._actions: list[Action] = []
        self.over = False
        self.exit_code = 1
        self.cause: tuple[Task, str] | None = None  # if the containers themselves are the reason

    @property
    def leader_ended(self) -> bool:
        """Whether the run is over, and only containers that still have to end are waited for."""
        return self._over_at is not None

    def observe(self, containers: Mapping[Task, Container], now: float) -> Sequence[Action]:
        """Take in what the engine says now, and return what follows from it."""
        if now - self._restarted_at >= HEALTHY:
            self._used = self._kept
        for task in sorted(self._roles, key=lambda task: self._is_consequence(containers.get(task))):
            if task not in self._ended and not self.over:
                self._observe_one(task, containers.get(task), now)
        if self._loss and now >= self._loss.give_up_at and self._over_at is None:
            late = f"{self._loss.error}, and {self._leader} did not end within {self._patience:g} s"
            self._fail(replace(self._loss, error=late))
        if self._over_at is not None and (now >= self._over_at or len(self._ended) == len(self._roles)):
            self.over = True
        actions, self._actions = self._actions, []
        return actions

    def _is_consequence(self, container: Container | None) -> bool:
        """Whether that end may have been caused by another one that is seen at the same time: it comes after it."""
        failed = container is not None and container.ended and container.exit_code == 1
        return failed and self._used >= self._allowed

    def _observe_one(self, task: Task, container: Container | None, now: float) -> None:
        if container is None or container.state != "paused":
            self._paused_at.pop(task, None)
        if container is None:
            self._ends(task, "its container was removed", None, now)
        elif container.state == "paused":
            self._is_paused(task, now)
        elif container.was_killed and self._over_at is None:
            self._kept += container.out_of_memory and self._used < self._allowed
            self._is_lost(task, container.death, now)
        elif container.ended:
            self._ends(task, f"its container ended with exit code {container.exit_code}", container.exit_code, now)

    def _is_paused(self, task: Task, now: float) -> None:
        """Treat a task that hangs as one that has died."""
        since = self._paused_at.setdefault(task, now)
        if now - since >= PAUSE_GRACE and self._over_at is None:
            self._is_lost(task, f"its container was paused for {PAUSE_GRACE:g} s", now, kill=True)

    def _is_lost(self, task: Task, error: str, now: float, *, kill: bool = False) -> None:
        if self._used < self._allowed:
            self._used, self._restarted_at = self._used + 1, now
            self._paused_at.pop(task, None)
            self._actions.append(RestartContainer(task, kill))
            self._say(f"{task}: {error}; restarted ({self._used} of {self._allowed})")
            return
        if self._allowed:
            error += f"; {exhausted(self._allowed)}"
        self._ends(task, error, None, now)
        if not self._dispensable(task):
            self._fail(Loss(task, error, 1, now))

    def _ends(self, task: Task, error: str, code: int | None, now: float) -> None:
        self._ended.add(task)
        decided = code if code in _DECIDED else None
        exit_code = 1 if decided is None else decided
        if task == self._leader:
            self._over_at, self.exit_code = now + LEAVE_GRACE, exit_code
            self.cause = (task, error) if decided is None else None
        elif self._dispensable(task):
            if decided is None and self._over_at is None:
                self._say(f"{task}: {error}; the others continue")
        elif exit_code and self._over_at is None:
            self._loss = self._loss or Loss(task, error, exit_code, now + self._patience)

    def _dispensable(self, task: Task) -> bool:
        """Whether the others continue without this task: an async worker, an evaluator, one beyond the fewest."""
        lost = {worker for worker in self._quorum.workers if worker in self._ended}
        return self._roles[task].may_be_missing or self._quorum.holds_without({*lost, task})

    def _fail(self, loss: Loss) -> None:
        self.over, self.exit_code, self.cause = True, loss.exit_code, (loss.task, loss.error)

    def _say(self, text: str) -> None:
        self._actions.append(Say(text))
