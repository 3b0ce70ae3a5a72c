"""TaskTable: the tasks of a run with their states and attempts, and the actions that are due."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.supervise.events import Action, Exited, Kill, Record, Say, Start, TaskState


class TaskTable:
    """The states and attempts of all tasks. Every change is recorded, as an action."""

    def __init__(self, roles: Mapping[Task, Role], first_attempt: int) -> None:
        self.roles = roles
        self.states = dict.fromkeys(roles, TaskState.PLANNED)
        self.attempts = dict.fromkeys(roles, first_attempt - 1)
        # The tasks that start and restart together. An evaluator is none of them: it only reads checkpoints.
        self.gang = [task for task, role in roles.items() if role.joins_cluster]
        self._actions: list[Action] = []

    @property
    def last_attempt(self) -> int:
        """The number of the last attempt of any task."""
        return max(self.attempts.values())

    def living(self, tasks: Iterable[Task]) -> list[Task]:
        """Return those of the tasks that have a process."""
        return [task for task in tasks if self.states[task].alive]

    def to_restart(self) -> list[Task]:
        """Return the tasks that start together in the next attempt: not an evaluator that runs or is done."""
        ended = (TaskState.FAILED, TaskState.STOPPED)
        return [task for task in self.states if task in self.gang or self.states[task] in ended]

    def set_state(self, task: Task, state: TaskState, cause: str = "") -> None:
        """Change the state of one task."""
        self.states[task] = state
        self.record(task, state.value, cause)

    def begin_attempt(self, tasks: Iterable[Task]) -> None:
        """Let these tasks have one attempt together, with the next number."""
        self.attempts |= dict.fromkeys(tasks, self.last_attempt + 1)

    def start(self, task: Task) -> None:
        """Start a task's process, in the attempt that has begun."""
        self.add(Start(task, self.attempts[task]))
        self.set_state(task, TaskState.STARTED)

    def ended(self, event: Exited) -> None:
        """Note the end of a process that is not a failure."""
        self.set_state(event.task, TaskState.STOPPED if event.code else TaskState.DONE, event.how)

    def kill(self, tasks: Iterable[Task], number: int) -> None:
        """Send a signal to those of the tasks that have a process."""
        self.add(*(Kill(task, number) for task in self.living(tasks)))

    def leave_out(self, task: Task, why: str) -> None:
        """Continue without a task."""
        self.kill([task], signal.SIGKILL)
        self.gang.remove(task)
        self.set_state(task, TaskState.LEFT_OUT, why)

    def say(self, text: str) -> None:
        """Show a line to the user."""
        self.add(Say(text))

    def record(self, task: Task | None, state: str, cause: str = "", details: Mapping[str, Any] | None = None) -> None:
        """Record a change of state; of the run if ``task`` is None."""
        attempt = self.attempts[task] if task else self.last_attempt
        self.add(Record(task, state, cause, details, attempt))

    def add(self, *actions: Action) -> None:
        """Add actions to those that are due."""
        self._actions += actions

    def take_actions(self) -> Sequence[Action]:
        """Return the actions that are due, and forget them."""
        actions, self._actions = self._actions, []
        return actions
