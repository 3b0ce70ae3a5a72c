"""Supervisor: a state machine over what happens to a plan's tasks; it decides, others act.

``handle`` takes one event and the time, and returns the actions that follow. There are no processes and no clock in
here, so that recorded histories can be replayed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
    Say,
    Signalled,
    Start,
    TaskState,
    Tick,
    Told,
)
from launcher.supervise.restarts import Restarts

STOP_GRACE = 5.0  # seconds between asking a task to end and killing its group
LEAVE_GRACE = 10.0  # seconds for tasks to leave by themselves once the leader is done
EVALUATE_GRACE = 60.0  # the same for an evaluator, which has the last checkpoint to score
CAUSE_GRACE = 2.0  # seconds for the first cause to show itself after one of its consequences
FORMING_GRACE = 10.0  # seconds on top of start_timeout: the tasks themselves know better who is missing
AGREED_STOP = 128 + signal.SIGTERM  # a task's exit code where all agreed to stop, because one of them was asked to


class Supervisor:
    """The state of one run and what to do next."""

    def __init__(
        self,
        roles: Mapping[Task, Role],
        leader: Task,
        start_timeout: float,
        stall_timeout: float,
        restarts: Restarts | None = None,
        first_attempt: int = 1,
    ) -> None:
        """Without ``restarts`` the first failure is the last; ``first_attempt`` goes on counting a resumed run's."""
        self._roles, self._leader = roles, leader
        self._start_timeout, self._stall_timeout = start_timeout, stall_timeout
        self._restarts = restarts or Restarts(0)
        # An evaluator belongs to no gang: it scores checkpoints, whoever writes them.
        self._gang = [task for task, role in roles.items() if role != "evaluate"]
        self._lone_restarts: dict[Task, float] = {}  # when tasks that restart alone start again
        self._trained = False  # in any attempt; where the leader is elsewhere, whether all were ready to
        self.attempts = dict.fromkeys(roles, first_attempt - 1)
        self.tasks = dict.fromkeys(roles, TaskState.PLANNED)
        self.state = RunState.FORMING
        self.stopped_by: int | None = None  # the signal, where the launcher was asked to stop
        self.result: Mapping[str, Any] | None = None
        self.progress: Mapping[str, Any] = {}
        self.first_step_at: float | None = None
        self._step, self._progress_at = -1, 0.0  # of this attempt
        self._causes: list[Cause] = []
        self._ask_at: float | None = None  # when stopping: when to send SIGTERM
        self._deadline: float | None = None  # of the present state
        self._spares_evaluator = False  # when stopping: the gang will start again
        self._settled = False  # when stopping: whether there will be another attempt
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
        self._start(self.tasks, now)
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
        self._look_who_lives(now)
        return self._taken()

    # What happened

    def _told(self, event: Told, now: float) -> None:
        match event.event:
            case "started":
                # What the task has proved to have: its cores and GPUs.
                self._actions.append(Record(event.task, "placed", details=event.details))
            case "meeting":
                self._set(event.task, TaskState.MEETING)
            case "ready":
                self._ready(event.task, now)
            case "progress" if event.task == self._leader and event.details["step"] > self._step:
                self.progress, self._step, self._progress_at = event.details, event.details["step"], now
                self.first_step_at = self.first_step_at or now
                self._trained = True
            case "result":
                self.result = event.details

    def _ready(self, task: Task, now: float) -> None:
        self._set(task, TaskState.READY)
        if self.state is RunState.FORMING and all(self.tasks[task] is TaskState.READY for task in self._gang):
            self._enter(RunState.TRAINING)
            self._progress_at, self._deadline = now, None
            self._trained = self._trained or self._leader not in self.tasks

    def _exited(self, event: Exited, now: float) -> None:
        clean = event.code == 0
        if self.state is RunState.RESTARTING and (clean or Cause.of(event).mendable):
            # An evaluator; it comes back with the others.
            self._set(event.task, TaskState.DONE if clean else TaskState.STOPPED, event.how)
            return
        if event.code == AGREED_STOP and event.error is None and self._goes_on:
            self._set(event.task, TaskState.STOPPED, event.how)
            self._signalled(signal.SIGTERM, now)
            return
        if self._is_failure(event):
            self._failed(Cause.of(event), now)
            return
        self._set(event.task, TaskState.DONE if clean else TaskState.STOPPED, event.how)
        if event.task == self._leader and clean and self.state is not RunState.STOPPING:
            self._enter(RunState.LEAVING)
            self._deadline = now + LEAVE_GRACE
            # Whoever was still coming back can meet nobody any more.
            late = (TaskState.STARTED, TaskState.MEETING)
            self._kill([task for task in self._gang if self.tasks[task] in late], signal.SIGKILL)

    @property
    def _goes_on(self) -> bool:
        return self.state in (RunState.FORMING, RunState.TRAINING)

    def _is_failure(self, event: Exited) -> bool:
        if self.state is RunState.LEAVING:
            return False  # noise after the end: whoever still ran has nothing left to do
        if self.state is RunState.STOPPING:
            # Whoever ends by a signal before anybody was asked to may be the first cause.
            unasked = self._ask_at is not None and event.code != 0 and all(cause.mendable for cause in self._causes)
            return (event.error is not None or unasked) and self.stopped_by is None
        # A member leaves with 0 when all have agreed on the end, which the leader told before.
        too_early = self._leader in self.tasks and self.result is None and self._roles[event.task] != "evaluate"
        return event.code != 0 or too_early

    def _failed(self, cause: Cause, now: float) -> None:
        self._set(cause.task, TaskState.FAILED, cause.error)
        if self._restarts_alone(cause) and (pause := self._restarts.take()) is not None:
            self._lone_restarts[cause.task] = now + pause
            self._announce(cause, self.attempts[cause.task] + 1, pause)
            return
        self._causes.append(cause)
        if self.state is not RunState.STOPPING:
            self._stop(f"{cause.task}: {cause.error}", now + (CAUSE_GRACE if cause.consequence else 0.0))

    def _signalled(self, number: int, now: float) -> None:
        if self.stopped_by is not None:
            self._kill(self.tasks, signal.SIGKILL)
            return
        if self._would_restart:
            self._causes.clear()  # a run that would have gone on has been stopped, it has not failed
        self.stopped_by = number
        self._stop(signal.Signals(number).name, now)

    # What time it is

    def _look_at_clock(self, now: float) -> None:
        match self.state:
            case RunState.FORMING if self._passed(now):
                self._not_formed(now)
            case RunState.TRAINING if self._stalled(now):
                self._give_up(Cause.stalled(self._leader, self._stall_timeout), now)
            case RunState.LEAVING if self._passed(now) and not self._still_evaluates(now):
                self._stop("the leader is done", now)
            case RunState.STOPPING:
                self._escalate(now)
            case RunState.RESTARTING if self._passed(now):
                lost = (TaskState.FAILED, TaskState.STOPPED)
                self._start([task for task in self.tasks if task in self._gang or self.tasks[task] in lost], now)
            case _:
                pass
        for task in [task for task, at in self._lone_restarts.items() if now >= at]:
            del self._lone_restarts[task]
            self._start_one(task, self.attempts[task] + 1)

    def _look_who_lives(self, now: float) -> None:
        if self.state in (RunState.OVER, RunState.RESTARTING) or self._lone_restarts or self._living(self._gang):
            return
        if self.state is RunState.STOPPING and not self._settled:
            self._settled = True
            if self._restart(now):
                return
        if not self._living(self.tasks):
            self._enter(RunState.OVER)
        elif self._spares_evaluator:
            # There will be no next attempt after all.
            self._ask_at, self._deadline, self._spares_evaluator = now, now + STOP_GRACE, False

    def _not_formed(self, now: float) -> None:
        late = [task for task in self._living(self.tasks) if self.tasks[task] is not TaskState.READY]
        if not late:  # some have ended well already, all others are there
            self._deadline = None
            return
        names = ", ".join(map(str, late))
        error = f"not ready after {self._start_timeout:g} s (run.start_timeout): {names}"
        self._give_up(Cause(late[0], error, exit_code=3), now)

    def _give_up(self, cause: Cause, now: float) -> None:
        self._causes.append(cause)
        self._stop(cause.error, now)

    def _still_evaluates(self, now: float) -> bool:
        late = self._living(self.tasks)
        in_time = self._deadline is not None and now < self._deadline + EVALUATE_GRACE
        return in_time and all(self._roles[task] == "evaluate" for task in late)

    def _stalled(self, now: float) -> bool:
        here = self._leader in self.tasks and self.result is None
        return here and now - self._progress_at >= self._stall_timeout

    def _passed(self, now: float) -> bool:
        return self._deadline is not None and now >= self._deadline

    # What to do

    def _start(self, tasks: Iterable[Task], now: float) -> None:
        """Start these tasks as one attempt of their own number."""
        attempt = max(self.attempts.values()) + 1
        self._deadline, self._ask_at, self.result = now + self._start_timeout + FORMING_GRACE, None, None
        self._step, self._settled = -1, False
        if self.state is not RunState.FORMING:
            self._enter(RunState.FORMING)
        for task in tasks:
            self._start_one(task, attempt)

    def _start_one(self, task: Task, attempt: int) -> None:
        self.attempts[task] = attempt
        self._actions.append(Start(task, attempt))
        self._set(task, TaskState.STARTED)

    def _stop(self, cause: str, ask_at: float) -> None:
        # The kill is armed here, whatever the cause and whoever still answers.
        self._enter(RunState.STOPPING, cause)
        self._ask_at, self._deadline = ask_at, ask_at + STOP_GRACE

    def _escalate(self, now: float) -> None:
        if self._ask_at is not None and now >= self._ask_at:
            self._ask_at = None
            self._spares_evaluator = self._would_restart
            self._kill(self._gang if self._spares_evaluator else self.tasks, signal.SIGTERM)
        if self._passed(now):
            self._deadline = None
            self._kill(self._gang if self._spares_evaluator else self.tasks, signal.SIGKILL)

    def _kill(self, tasks: Iterable[Task], number: int) -> None:
        self._actions += [Kill(task, number) for task in self._living(tasks)]

    def _living(self, tasks: Iterable[Task]) -> list[Task]:
        return [task for task in tasks if self.tasks[task].alive]

    # Starting again

    def _mends(self, cause: Cause) -> bool:
        # Whoever dies before the first step would do so again; who follows another's death did not start it.
        return cause.mendable and (self._trained or cause.consequence)

    def _restarts_alone(self, cause: Cause) -> bool:
        """Whether the others can go on without this task: an asynchronous worker, or an evaluator."""
        role = self._roles[cause.task]
        worker = role == "serve" and cause.task.job == "worker" and not cause.consequence
        running = self.state is RunState.TRAINING or (role == "evaluate" and self._goes_on)
        return running and (worker or role == "evaluate") and self._mends(cause)

    @property
    def _would_restart(self) -> bool:
        cause = self.cause
        left = self._restarts.used < self._restarts.allowed
        return self.stopped_by is None and cause is not None and self._mends(cause) and left

    def _restart(self, now: float) -> bool:
        """Plan the next attempt of the whole gang, where it may help; whether there is one."""
        cause = self.cause
        if cause is None or self.stopped_by is not None or self.done or not self._mends(cause):
            return False
        pause = self._restarts.take()
        if pause is None:
            if self._restarts.allowed:
                error = f"{cause.error}; run.restarts ({self._restarts.allowed}) are used up"
                self._causes = [replace(cause, error=error)]
            return False
        self._causes.clear()
        self._enter(RunState.RESTARTING, f"{cause.task}: {cause.error}")
        self._deadline = now + pause
        self._announce(cause, max(self.attempts.values()) + 1, pause)
        return True

    def _announce(self, cause: Cause, attempt: int, pause: float) -> None:
        what = f"attempt {attempt} starts in {pause:.1f} s ({self._restarts})"
        self._actions.append(Say(f"{cause.task}: {cause.error}; {what}"))

    # What is written down

    def _set(self, task: Task, state: TaskState, cause: str = "") -> None:
        self.tasks[task] = state
        self._actions.append(Record(task, state.value, cause))

    def _enter(self, state: RunState, cause: str = "") -> None:
        self.state = state
        if not self._goes_on:
            self._lone_restarts.clear()  # whoever waits starts with the others, or not at all
        self._actions.append(Record(None, state.value, cause))

    def _taken(self) -> Sequence[Action]:
        actions, self._actions = self._actions, []
        return actions
