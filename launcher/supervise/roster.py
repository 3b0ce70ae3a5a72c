"""Roster: the tasks of a run, what each of them is about, and the actions that are due."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.supervise.events import Action, Kill, Record, Say, Start, TaskState


class Roster:
    """The states and attempts of all tasks. Every change is written down, as an action."""

    def __init__(self, roles: Mapping[Task, Role], first_attempt: int) -> None:
        self.roles = roles
        self.states = dict.fromkeys(roles, TaskState.PLANNED)
        self.attempts = dict.fromkeys(roles, first_attempt - 1)
        # An evaluator belongs to no gang: it scores checkpoints, whoever writes them.
        self.gang = [task for task, role in roles.items() if role.joins_cluster]
        self._actions: list[Action] = []

    @property
    def attempt(self) -> int:
        """The number of the last attempt of any task."""
        return max(self.attempts.values())

    def living(self, tasks: Iterable[Task]) -> list[Task]:
        """Return those of the tasks that have a process."""
        return [task for task in tasks if self.states[task].alive]

    def set(self, task: Task, state: TaskState, cause: str = "") -> None:
        """Change the state of one task."""
        self.states[task] = state
        self.record(task, state.value, cause)

    def start(self, task: Task, attempt: int) -> None:
        """Start a task's process."""
        self.attempts[task] = attempt
        self.do(Start(task, attempt))
        self.set(task, TaskState.STARTED)

    def kill(self, tasks: Iterable[Task], number: int) -> None:
        """Send a signal to those of the tasks that have a process."""
        self.do(*(Kill(task, number) for task in self.living(tasks)))

    def dismiss(self, task: Task, why: str) -> None:
        """Go on without a task."""
        self.kill([task], signal.SIGKILL)
        self.gang.remove(task)
        self.set(task, TaskState.LEFT_OUT, why)

    def say(self, text: str) -> None:
        """Show a line to whoever watches."""
        self.do(Say(text))

    def record(self, task: Task | None, state: str, cause: str = "", details: Mapping[str, Any] | None = None) -> None:
        """Write a change of state down; of the run, where ``task`` is None."""
        self.do(Record(task, state, cause, details))

    def do(self, *actions: Action) -> None:
        """Add actions to those that are due."""
        self._actions += actions

    def taken(self) -> Sequence[Action]:
        """Return the actions that are due, and forget them."""
        actions, self._actions = self._actions, []
        return actions
