"""Recorded histories for the Supervisor: what happened at which second, and what it made of it."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.supervise.elastic import Elastic
from launcher.supervise.events import Action, Event, Exited, Kill, Record, Say, Start, Told
from launcher.supervise.restarts import Restarts
from launcher.supervise.supervisor import Supervisor

CHIEF, PS, EVALUATOR = Task("chief", 0), Task("ps", 0), Task("evaluator", 0)
FIRST, SECOND = Task("worker", 0), Task("worker", 1)
SYNC: Mapping[Task, Role] = {FIRST: Role.TRAIN, SECOND: Role.TRAIN}
ASYNC: Mapping[Task, Role] = {CHIEF: Role.COORDINATE, FIRST: Role.COMPUTE, PS: Role.SERVE}
EVALUATED: Mapping[Task, Role] = {**SYNC, EVALUATOR: Role.EVALUATE}

Moments = list[tuple[float, Event]]


@dataclass(frozen=True)
class Replay:
    """What became of a history: the Supervisor at its end, and every action at its second."""

    supervisor: Supervisor
    actions: list[tuple[float, Action]]

    @property
    def kills(self) -> list[tuple[float, str, str]]:
        return [(now, str(a.task), signal.Signals(a.number).name) for now, a in self.actions if isinstance(a, Kill)]

    @property
    def restarts(self) -> list[tuple[float, Task, int]]:
        """What was started after the beginning."""
        return [(now, a.task, a.attempt) for now, a in self.actions if isinstance(a, Start) and now > 0]

    @property
    def said(self) -> list[str]:
        return [a.text for _, a in self.actions if isinstance(a, Say)]

    @property
    def records(self) -> list[Record]:
        return [a for _, a in self.actions if isinstance(a, Record)]


def replay(
    roles: Mapping[Task, Role],
    leader: Task,
    history: Iterable[tuple[float, Event]],
    *,
    budget: int = 0,
    used: int = 0,
    first_attempt: int = 1,
    elastic: Elastic | None = None,
    stall_timeout: float = 300,
) -> Replay:
    """Play the events to a fresh Supervisor whose jitter is none: its pauses are 1, 2, 4... seconds.

    ``used`` is how many of the budget were spent before, which makes the next pause long.
    """
    restarts = Restarts(budget, jitter=lambda: 0.5)
    restarts.used = used
    supervisor = Supervisor(
        roles,
        leader,
        start_timeout=60,
        stall_timeout=stall_timeout,
        restarts=restarts,
        first_attempt=first_attempt,
        elastic=elastic,
    )
    actions = [(0.0, action) for action in supervisor.begin(0.0)]
    for now, event in history:
        actions += [(now, action) for action in supervisor.handle(event, now)]
    return Replay(supervisor, actions)


def error(
    kind: str = "ValueError", *, code: int = 1, consequence: bool = False, mendable: bool | None = None
) -> dict[str, Any]:
    """An error.json; as the runtime writes it, only another task's end can be mended."""
    mendable = consequence if mendable is None else mendable
    return {"type": kind, "message": "no", "exit_code": code, "consequence": consequence, "mendable": mendable}


def lost(task: Task) -> Exited:
    """The end of a task that another one's end has caused."""
    return Exited(task, 1, error("UnavailableError", consequence=True))


def ready(*tasks: Task, at: float = 1.0) -> Moments:
    return [(at, Told(task, "ready")) for task in tasks]


def trained(roles: Mapping[Task, Role], leader: Task) -> Moments:
    """All are ready at 1, and the first step is made at 2."""
    return [*ready(*roles), (2.0, Told(leader, "progress", {"step": 1}))]
