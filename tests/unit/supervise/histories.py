"""Recorded histories for the Supervisor: what happened at which second, and what it made of it."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.contract.phases import Phase
from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.supervise.causes import Cause
from launcher.supervise.events import Action, Event, Exited, Kill, Record, Reported, RunState, Say, Start, Tick
from launcher.supervise.hangs import Patience
from launcher.supervise.lost_workers import LostWorkers
from launcher.supervise.restarts import RestartBudget
from launcher.supervise.supervisor import Supervisor

CHIEF, PS, EVALUATOR = Task("chief", 0), Task("ps", 0), Task("evaluator", 0)
FIRST, SECOND = Task("worker", 0), Task("worker", 1)
SYNC: Mapping[Task, Role] = {FIRST: Role.TRAIN, SECOND: Role.TRAIN}
ASYNC: Mapping[Task, Role] = {CHIEF: Role.COORDINATE, FIRST: Role.COMPUTE, PS: Role.SERVE}
EVALUATED: Mapping[Task, Role] = {**SYNC, EVALUATOR: Role.EVALUATE}

Moments = list[tuple[float, Event]]


@dataclass(frozen=True)
class Replay:
    """The result of a history: the Supervisor at its end, and every action with its second."""

    supervisor: Supervisor
    actions: list[tuple[float, Action]]

    @property
    def kills(self) -> list[tuple[float, str, str]]:
        return [(now, str(a.task), signal.Signals(a.number).name) for now, a in self.actions if isinstance(a, Kill)]

    @property
    def starts(self) -> list[tuple[float, Task, int]]:
        return [(now, a.task, a.attempt) for now, a in self.actions if isinstance(a, Start)]

    @property
    def restarts(self) -> list[tuple[float, Task, int]]:
        """What was started after the beginning."""
        return [start for start in self.starts if start[0] > 0]

    @property
    def said(self) -> list[str]:
        return [a.text for _, a in self.actions if isinstance(a, Say)]

    @property
    def records(self) -> list[Record]:
        return [a for _, a in self.actions if isinstance(a, Record)]

    @property
    def state(self) -> RunState:
        return self.supervisor.state

    @property
    def cause(self) -> Cause:
        """The first cause, of a run that has one."""
        cause = self.supervisor.cause
        assert cause is not None
        return cause

    @property
    def failure(self) -> tuple[str, str, int]:
        """Of a run that has ended without another attempt: the task that was the cause, its error and exit code."""
        assert self.state is RunState.OVER
        assert not self.supervisor.done
        return str(self.cause.task), self.cause.error, self.cause.exit_code


def leader_of(roles: Mapping[Task, Role]) -> Task:
    return next(task for task, role in roles.items() if role.ends_run)


class Paused(RestartBudget):
    """A budget that has a pause before the first restart, too, so that every restart can be seen to wait for it."""

    def pause(self) -> float:
        self._trained_since = None
        return 2.0 ** max(0, self.used - 1)


def replay(
    roles: Mapping[Task, Role],
    history: Iterable[tuple[float, Event]],
    *,
    leader: Task | None = None,
    budget: int = 0,
    used: int = 0,
    first_attempt: int = 1,
    lost_workers: LostWorkers | None = None,
    stall_timeout: float = 300,
    paused: bool = True,
    grace: float = 20,
    timeouts: Mapping[Phase, float] | None = None,
    whole: bool = True,
) -> Replay:
    """Play the events to a fresh Supervisor without jitter: its pauses are 1, 2, 4... seconds if ``paused``.

    ``leader`` is given if it runs elsewhere. ``used`` is how much of the budget was spent before, which makes the next
    pause long.
    """
    restarts = (Paused if paused else RestartBudget)(budget, jitter=lambda: 0.5)
    restarts.used = used
    supervisor = Supervisor(
        roles,
        leader or leader_of(roles),
        start_timeout=60,
        patience=Patience(stall_timeout, timeouts or {}, whole=whole),
        budget=restarts,
        first_attempt=first_attempt,
        lost_workers=lost_workers,
        grace=grace,
    )
    actions = [(0.0, action) for action in supervisor.begin(0.0)]
    for now, event in history:
        actions += [(now, action) for action in supervisor.handle(event, now)]
    return Replay(supervisor, actions)


def error(
    kind: str = "ValueError", *, code: int = 1, consequence: bool = False, mendable: bool | None = None
) -> dict[str, Any]:
    """An error.json; as the runtime writes it, a restart helps only against another task's end."""
    mendable = consequence if mendable is None else mendable
    return {"type": kind, "message": "no", "exit_code": code, "consequence": consequence, "mendable": mendable}


def lost(task: Task) -> Exited:
    """The end of a task that another one's end has caused."""
    return Exited(task, 1, error("UnavailableError", consequence=True))


def ready(*tasks: Task, at: float = 1.0) -> Moments:
    return [(at, Reported(task, "ready")) for task in tasks]


def trained(roles: Mapping[Task, Role]) -> Moments:
    """All are ready at 1, and the first step is made at 2."""
    return [*ready(*roles), (2.0, Reported(leader_of(roles), "progress", {"step": 1}))]


def killed(*tasks: Task, at: float) -> Moments:
    """From outside: these are killed."""
    return [(at, Exited(task, -signal.SIGKILL)) for task in tasks]


def obeyed(*tasks: Task, at: float) -> Moments:
    """These ended as they were asked to."""
    return [(at, Exited(task, -signal.SIGTERM)) for task in tasks]


def ticks(first: int, last: int) -> Moments:
    """A tick every second."""
    return [(float(second), Tick()) for second in range(first, last)]


WAITING: Moments = [*killed(SECOND, at=10), *obeyed(FIRST, at=10)]  # all have ended, and a restart is due at 11
