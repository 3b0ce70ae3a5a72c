"""Supervisor: a state machine over what happens to a plan's tasks; it decides, others act.

``handle`` takes one event and the time, and returns the actions that follow. There are no processes and no clock in
here, so that recorded histories can be replayed.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any

from launcher.cluster.context import Role, Task
from launcher.supervise.events import (
    Action,
    Cause,
    Event,
    Exited,
    Kill,
    Record,
    RunState,
    Signalled,
    Start,
    TaskState,
    Tick,
    Told,
)

STOP_GRACE = 5.0  # seconds between asking a task to end and killing its group
LEAVE_GRACE = 10.0  # seconds for tasks to leave by themselves once the leader is done
EVALUATE_GRACE = 60.0  # the same for an evaluator, which has the last checkpoint to score
CAUSE_GRACE = 2.0  # seconds for the first cause to show itself after one of its consequences
FORMING_GRACE = 10.0  # seconds on top of start_timeout: the tasks themselves know better who is missing


class Supervisor:
    """The state of one run and what to do next."""

    def __init__(self, roles: Mapping[Task, Role], leader: Task, start_timeout: float, stall_timeout: float) -> None:
        self._roles, self._leader = roles, leader
        self._start_timeout, self._stall_timeout = start_timeout, stall_timeout
        self.tasks = dict.fromkeys(roles, TaskState.PLANNED)
        self.state = RunState.FORMING
        self.stopped_by: int | None = None  # the signal, where the launcher was asked to stop
        self.result: Mapping[str, Any] | None = None
        self.progress: Mapping[str, Any] = {}
        self.first_step_at: float | None = None
        self._progress_at = 0.0
        self._causes: list[Cause] = []
        self._ask_at: float | None = None  # when stopping: when to send SIGTERM
        self._deadline: float | None = None  # of the present state
        self._actions: list[Action] = []

    @property
    def done(self) -> bool:
        """Whether the leader brought the run to its end; where it runs elsewhere, whether every task here did."""
        if self._leader in self.tasks:
            return self.result is not None and self.tasks[self._leader] is TaskState.DONE
        return all(state is TaskState.DONE for state in self.tasks.values())

    @property
    def cause(self) -> Cause | None:
        """The first cause: the earliest error that is not the consequence of another task's end."""
        return min(self._causes, key=lambda cause: (cause.consequence, cause.time_ns), default=None)

    def begin(self, now: float) -> Sequence[Action]:
        """Start every task."""
        for task in self.tasks:
            self._actions.append(Start(task))
            self._set(task, TaskState.STARTED)
        self._deadline = now + self._start_timeout + FORMING_GRACE
        return self._taken()

    def handle(self, event: Event, now: float) -> Sequence[Action]:
        """Take one event in and return what follows from it."""
        match event:
            case Told():
                self._told(event, now)
            case Exited():
                self._exited(event, now)
            case Signalled():
                self._signalled(event.number, now)
            case Tick():
                pass
        self._look_at_clock(now)
        if self.state is not RunState.OVER and not any(state.alive for state in self.tasks.values()):
            self._enter(RunState.OVER)
        return self._taken()

    # What happened

    def _told(self, event: Told, now: float) -> None:
        match event.event:
            case "meeting":
                self._set(event.task, TaskState.MEETING)
            case "ready":
                self._ready(event.task, now)
            case "progress" if event.task == self._leader and event.details["step"] > self.progress.get("step", -1):
                self.progress, self._progress_at = event.details, now
                self.first_step_at = self.first_step_at or now
            case "result":
                self.result = event.details

    def _ready(self, task: Task, now: float) -> None:
        self._set(task, TaskState.READY)
        members = (state for task, state in self.tasks.items() if self._roles[task] != "evaluate")
        if self.state is RunState.FORMING and all(state is TaskState.READY for state in members):
            self._enter(RunState.TRAINING)
            self._progress_at, self._deadline = now, None

    def _exited(self, event: Exited, now: float) -> None:
        clean = event.code == 0
        if self._is_failure(event):
            self._failed(_cause(event), now)
            return
        self._set(event.task, TaskState.DONE if clean else TaskState.STOPPED, _how(event))
        if event.task == self._leader and clean and self.state is not RunState.STOPPING:
            self._enter(RunState.LEAVING)
            self._deadline = now + LEAVE_GRACE

    def _is_failure(self, event: Exited) -> bool:
        if self.state is RunState.LEAVING:
            return False  # noise after the end: whoever still ran has nothing left to do
        if self.state is RunState.STOPPING:
            return event.error is not None and self.stopped_by is None
        # A member leaves with 0 when all have agreed on the end, which the leader told before.
        too_early = self._leader in self.tasks and self.result is None and self._roles[event.task] != "evaluate"
        return event.code != 0 or too_early

    def _failed(self, cause: Cause, now: float) -> None:
        self._set(cause.task, TaskState.FAILED, cause.error)
        self._causes.append(cause)
        if self.state is not RunState.STOPPING:
            self._stop(f"{cause.task}: {cause.error}", now + (CAUSE_GRACE if cause.consequence else 0.0))

    def _signalled(self, number: int, now: float) -> None:
        if self.stopped_by is not None:
            self._kill_all(signal.SIGKILL)
            return
        self.stopped_by = number
        self._stop(signal.Signals(number).name, now)

    # What time it is

    def _look_at_clock(self, now: float) -> None:
        match self.state:
            case RunState.FORMING if self._passed(now):
                self._not_formed(now)
            case RunState.TRAINING if self._stalled(now):
                self._give_up(self._leader, f"no step for {self._stall_timeout:g} s (run.stall_timeout)", 1, now)
            case RunState.LEAVING if self._passed(now) and not self._still_evaluates(now):
                self._stop("the leader is done", now)
            case RunState.STOPPING:
                self._escalate(now)
            case _:
                pass

    def _not_formed(self, now: float) -> None:
        late = [task for task, state in self.tasks.items() if state.alive and state is not TaskState.READY]
        names = ", ".join(map(str, late))
        self._give_up(late[0], f"not ready after {self._start_timeout:g} s (run.start_timeout): {names}", 3, now)

    def _give_up(self, task: Task, error: str, exit_code: int, now: float) -> None:
        self._causes.append(Cause(task, error, exit_code=exit_code))
        self._stop(error, now)

    def _still_evaluates(self, now: float) -> bool:
        late = [task for task, state in self.tasks.items() if state.alive]
        in_time = self._deadline is not None and now < self._deadline + EVALUATE_GRACE
        return in_time and all(self._roles[task] == "evaluate" for task in late)

    def _stalled(self, now: float) -> bool:
        here = self._leader in self.tasks and self.result is None
        return here and now - self._progress_at >= self._stall_timeout

    def _passed(self, now: float) -> bool:
        return self._deadline is not None and now >= self._deadline

    # What to do

    def _stop(self, cause: str, ask_at: float) -> None:
        # The kill is armed here, whatever the cause and whoever still answers.
        self._enter(RunState.STOPPING, cause)
        self._ask_at, self._deadline = ask_at, ask_at + STOP_GRACE

    def _escalate(self, now: float) -> None:
        if self._ask_at is not None and now >= self._ask_at:
            self._ask_at = None
            self._kill_all(signal.SIGTERM)
        if self._passed(now):
            self._deadline = None
            self._kill_all(signal.SIGKILL)

    def _kill_all(self, number: int) -> None:
        self._actions += [Kill(task, number) for task, state in self.tasks.items() if state.alive]

    def _set(self, task: Task, state: TaskState, cause: str = "") -> None:
        self.tasks[task] = state
        self._actions.append(Record(task, state.value, cause))

    def _enter(self, state: RunState, cause: str = "") -> None:
        self.state = state
        self._actions.append(Record(None, state.value, cause))

    def _taken(self) -> Sequence[Action]:
        actions, self._actions = self._actions, []
        return actions


def _how(event: Exited) -> str:
    if event.code < 0:
        return f"killed by {signal.Signals(-event.code).name}"
    return f"exit code {event.code}" if event.code else ""


def _cause(event: Exited) -> Cause:
    error = event.error
    if error is None:
        ended = "ended with exit code 0 before the run was over; does the job call exit()?"
        return Cause(event.task, _how(event) or ended, event.time_ns)
    return Cause(
        event.task,
        error["message"] if error.get("is_sentence") else f"{error['type']}: {error['message']}",
        event.time_ns,
        exit_code=int(error["exit_code"]),
        record=error,
        consequence=bool(error["consequence"]),
    )
