"""Requests: the tasks that will start, with what was asked for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NoReturn

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.errors import Problem, SpecError
from launcher.spec.model import JobSpec
from launcher.text import counted


@dataclass(frozen=True)
class TaskRequest:
    """A task that will start: what was asked for it, and what it will do."""

    task: Task
    job: JobSpec
    role: Role

    @property
    def trains(self) -> bool:
        """Whether it computes gradients."""
        return self.role.computes_gradients


def by_job(requests: Sequence[TaskRequest]) -> Iterator[tuple[str, list[TaskRequest]]]:
    """Yield the requests of each job together; they must be in the order of their jobs."""
    for name, group in groupby(requests, lambda request: request.task.job):
        yield name, list(group)


def asks(tasks: int, each: int, word: str) -> str:
    """Return ``4 cores (2 tasks x 2)``."""
    number = counted(tasks * each, word)
    return f"{number} ({tasks} tasks x {each})" if tasks > 1 else number


def refuse(job: str, key: str, message: str) -> NoReturn:
    """Raise SpecError about that key of the job."""
    raise SpecError([Problem("", f"cluster.{job}.{key}", message)])
