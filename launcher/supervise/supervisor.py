"""Supervisor: a state machine over what happens to a plan's tasks; it decides, others act.

``handle`` takes one event and the time, and returns the actions that follow. There are no processes and no clock in
here, so that recorded histories can be replayed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.supervise.comeback import Comeback
from launcher.supervise.elastic import Elastic
from launcher.supervise.events import (
    Action,
    Cause,
    Event,
    Exited,
    Renew,
    RunState,
    Seen,
    Signalled,
    TaskState,
    Tick,
    Told,
)
from launcher.supervise.hangs import Stall
from launcher.supervise.progress import Progress
from launcher.supervise.restarts import Restarts
from launcher.supervise.roster import Roster
from launcher.supervise.stopping import SAVE_GRACE, Ending
from launcher.supervise.stragglers import Pace

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
        elastic: Elastic | None = None,
    ) -> None:
        """Without ``restarts`` the first failure is the last; ``first_attempt`` goes on counting a resumed run's."""
        self._roster, self._roles, self._leader = Roster(roles, first_attempt), roles, leader
        self.tasks, self.attempts = self._roster.states, self._roster.attempts
        self._start_timeout = start_timeout
        trainers = [task for task, role in roles.items() if role.steps]
        self.progress, self._pace = Progress(leader, trainers), Pace(stall_timeout / 5)
        self._stall = Stall(stall_timeout, self.progress, leads=leader in roles)
        self.elastic = elastic or Elastic()
        self._comeback = Comeback(self._roster, self.progress, restarts or Restarts(0), self.elastic)
        self.state = RunState.FORMING
        self.stopped_by: int | None = None  # the signal, where the launcher was asked to stop
        self.result: Mapping[str, Any] | None = None
        self._causes: list[Cause] = []
        self._failed_at = 0.0  # when the first of them was seen
        self._deadline: float | None = None  # of the present state
        self._ending: Ending | None = None  # when stopping
        self._settled = False  # when stopping: whether there will be another attempt

    @property
    def done(self) -> bool:
        """Whether the leader brought the run to its end; where it runs elsewhere, whether every task here did."""
        if self._leader in self.tasks:
            return self.result is not None and self.tasks[self._leader] is TaskState.DONE
        return all(state in (TaskState.DONE, TaskState.LEFT_OUT) for state in self.tasks.values())

    @property
    def cause(self) -> Cause | None:
        """The first cause: the earliest error that is not the consequence of another task's end."""
        return min(self._causes, key=lambda cause: (cause.consequence, cause.time_ns), default=None)

    def begin(self, now: float) -> Sequence[Action]:
        """Start every task."""
        self._start(self.tasks, now)
        return self._roster.taken()

    def handle(self, event: Event, now: float) -> Sequence[Action]:
        """Take one event in and return what follows from it."""
        match event:
            case Told():
                self._told(event, now)
            case Exited():
                self._exited(event, now)
            case Signalled():
                self._signalled(event.number, now)
            case Seen():
                self._stall.seen(event)
            case Tick():
                pass
        self._look_at_clock(now)
        self._look_who_lives(now)
        return self._roster.taken()

    # What happened

    def _told(self, event: Told, now: float) -> None:
        match event.event:
            case "started":
                # What the task has proved to have: its cores and GPUs.
                self._roster.record(event.task, "placed", details=event.details)
            case "meeting":
                self._roster.set(event.task, TaskState.MEETING)
            case "ready":
                self._ready(event, now)
            case "left_out":
                for name in event.details["tasks"]:
                    self._comeback.leave_out(Task.parse(name), f"{name} did not come to the rendezvous")
            case "progress" if self._roles[event.task].joins_cluster:
                self._progressed(event, now)
            case "alive" | "busy" | "finished":
                self._noted(event, now)
            case "result":
                self.result = event.details

    def _ready(self, event: Told, now: float) -> None:
        self._roster.set(event.task, TaskState.READY)
        self.progress.noted(event, now)
        if "step" in event.details:  # of whoever trains: all go on from the same one
            self.progress.resumed(int(event.details["step"]))
        self._comeback.recovered(event.task, now)
        if self.state is RunState.FORMING and all(self.tasks[task] is TaskState.READY for task in self._roster.gang):
            self._enter(RunState.TRAINING)
            self.progress.moved_at, self._deadline = now, None
            if self._leader not in self.tasks:
                self._comeback.trains(now)
                self._comeback.recovered(None, now)

    def _noted(self, event: Told, now: float) -> None:
        self.progress.noted(event, now)
        if self.state is RunState.TRAINING and self._leader not in self.tasks and not self.progress.any:
            self._comeback.trains(now)  # as far as is known here, where nobody tells of steps

    def _progressed(self, event: Told, now: float) -> None:
        moved = self.progress.told(event.task, event.details, now)
        if not moved or (event.task != self._leader and self._leader in self.tasks):
            return
        self._comeback.trains(now)
        self._comeback.recovered(None, now)
        if slow := self._pace.told(event.details.get("pace") or {}, event.details["step"], now):
            self._roster.say(slow)
            self._roster.record(None, "slow", slow)

    def _exited(self, event: Exited, now: float) -> None:
        clean = event.code == 0
        if self.tasks[event.task] is TaskState.LEFT_OUT:
            return
        if self.state is RunState.RESTARTING and (clean or Cause.of(event).mendable):
            # An evaluator; it comes back with the others.
            self._roster.set(event.task, TaskState.DONE if clean else TaskState.STOPPED, event.how)
            return
        if event.code == AGREED_STOP and event.error is None and self._goes_on:
            self._roster.set(event.task, TaskState.STOPPED, event.how)
            self._signalled(signal.SIGTERM, now)
            return
        if self._is_failure(event):
            self._failed(Cause.of(event), now)
            return
        self._roster.set(event.task, TaskState.DONE if clean else TaskState.STOPPED, event.how)
        if event.task == self._leader and clean and self.state is not RunState.STOPPING:
            self._enter(RunState.LEAVING)
            self._deadline = now + LEAVE_GRACE
            # Whoever was still coming back can meet nobody any more.
            late = (TaskState.STARTED, TaskState.MEETING)
            self._roster.kill([task for task in self._roster.gang if self.tasks[task] in late], signal.SIGKILL)

    @property
    def _goes_on(self) -> bool:
        return self.state in (RunState.FORMING, RunState.TRAINING)

    def _is_failure(self, event: Exited) -> bool:
        if self.state is RunState.LEAVING:
            return False  # noise after the end: whoever still ran has nothing left to do
        if self.state is RunState.STOPPING:
            # Whoever ends by a signal before anybody was asked to may be the first cause.
            asked = self._ending is not None and self._ending.has_asked
            unasked = not asked and event.code != 0 and all(cause.mendable for cause in self._causes)
            return (event.error is not None or unasked) and self.stopped_by is None
        # A member leaves with 0 when all have agreed on the end, which the leader told before.
        too_early = self._leader in self.tasks and self.result is None and self._roles[event.task].joins_cluster
        return event.code != 0 or too_early

    def _failed(self, cause: Cause, now: float) -> None:
        self._roster.set(cause.task, TaskState.FAILED, cause.error)
        evaluates = not self._roles[cause.task].joins_cluster and self._goes_on
        if (self.state is RunState.TRAINING or evaluates) and self._comeback.alone(cause, now):
            return
        self._causes.append(cause)
        if self.state is not RunState.STOPPING:
            self._failed_at = now
            self._stop(str(cause), Ending(now + (CAUSE_GRACE if cause.consequence else 0.0)))

    def _signalled(self, number: int, now: float) -> None:
        if self.stopped_by is not None:
            self._roster.kill(self.tasks, signal.SIGKILL)
            return
        if self._would_restart:
            self._causes.clear()  # a run that would have gone on has been stopped, it has not failed
        self.stopped_by = number
        trains = self.state is RunState.TRAINING
        # The call that runs has not heard of it; the next one is the last.
        grace = max(SAVE_GRACE, round(2.5 * self.progress.longest) + 5.0)
        if trains:
            again = f"at most {grace:g} s; a second signal ends at once"
            self._roster.say(f"stopping: the tasks finish their call and write a checkpoint ({again})")
        self._stop(signal.Signals(number).name, Ending(now, self._leader if trains else None, grace))

    # What time it is

    def _look_at_clock(self, now: float) -> None:
        match self.state:
            case RunState.FORMING if self._passed(now):
                self._not_formed(now)
            case RunState.TRAINING if self._goes_on_here:
                self._look_who_is_behind(now)
            case RunState.LEAVING if self._passed(now) and not self._still_evaluates(now):
                self._stop("the leader is done", Ending(now))
            case RunState.STOPPING if self._ending:
                self._ending.go_on(self._roster, now, starts_again=self._would_restart and not self._settled)
            case RunState.RESTARTING if self._passed(now):
                lost = (TaskState.FAILED, TaskState.STOPPED)
                self._start([task for task in self.tasks if task in self._roster.gang or self.tasks[task] in lost], now)
            case _:
                pass
        self._comeback.start_who_is_due(now)

    def _look_who_lives(self, now: float) -> None:
        waits = self.state is RunState.RESTARTING or self._comeback.is_awaited
        if self.state is RunState.OVER or waits or self._roster.living(self._roster.gang):
            return
        if self.state is RunState.STOPPING and not self._settled:
            self._settled = True
            if self._restart(now):
                return
        if not self._roster.living(self.tasks):
            self._enter(RunState.OVER)
        elif self._ending and self._ending.spares_evaluator:
            self._ending = Ending(now)  # there will be no next attempt after all

    def _not_formed(self, now: float) -> None:
        late = [task for task in self._roster.living(self.tasks) if self.tasks[task] is not TaskState.READY]
        if not late:  # some have ended well already, all others are there
            self._deadline = None
            return
        living = self._roster.living(self.tasks)
        self._roster.do(*self._stall.looks(living, now, self._begun(living)))
        if (seen := self._stall.seen_of(living, now)) is None:
            return
        error = f"not ready after {self._start_timeout:g} s (run.start_timeout): {', '.join(map(str, late))}"
        still = [task for task, look in seen.items() if look.stands_still]
        if still:
            error += f"; {', '.join(map(str, still))} stands still, stopped by a signal"
        self._give_up(Cause((still or late)[0], error, exit_code=3), now)

    def _give_up(self, cause: Cause, now: float) -> None:
        self._causes.append(cause)
        self._failed_at = now
        self._stop(cause.error, Ending(now))

    def _still_evaluates(self, now: float) -> bool:
        late = self._roster.living(self.tasks)
        in_time = self._deadline is not None and now < self._deadline + EVALUATE_GRACE
        return in_time and not any(self._roles[task].joins_cluster for task in late)

    def _begun(self, living: Iterable[Task]) -> list[Task]:
        """Return those that have begun: a Python that is just starting would die of being asked for its stacks."""
        return [task for task in living if self.tasks[task] is not TaskState.STARTED]

    @property
    def _goes_on_here(self) -> bool:
        return self.result is None if self._leader in self.tasks else self.progress.goes_on

    def _look_who_is_behind(self, now: float) -> None:
        living = self._roster.living(self._roster.gang or self.tasks)
        if not self._stall.is_there(living, now):
            return
        self._roster.do(*self._stall.looks(living, now, self._begun(living)))
        if cause := self._stall.cause(living, now):
            self._give_up(cause, now)

    def _passed(self, now: float) -> bool:
        return self._deadline is not None and now >= self._deadline

    # What to do

    def _start(self, tasks: Iterable[Task], now: float) -> None:
        """Start these tasks as one attempt of their own number."""
        attempt = self._roster.attempt + 1
        self._deadline, self.result = now + self._start_timeout + FORMING_GRACE, None
        self._settled = False
        self.progress.begin(now)
        self._stall.begin()
        if self.state is not RunState.FORMING:
            self._enter(RunState.FORMING)
            self._roster.do(Renew())
        for task in tasks:
            self._roster.start(task, attempt)

    def _stop(self, cause: str, ending: Ending) -> None:
        self._enter(RunState.STOPPING, cause)
        self._ending = ending

    # Starting again

    @property
    def _would_restart(self) -> bool:
        cause = self.cause
        return self.stopped_by is None and cause is not None and self._comeback.would_be(cause)

    def _restart(self, now: float) -> bool:
        """Plan the next attempt of the whole gang, where it may help; whether there is one."""
        cause = self.cause
        if cause is None or self.stopped_by is not None or self.done:
            return False
        answer = self._comeback.of_all(cause, self._failed_at)
        if answer.pause is None:
            self._causes = [replace(cause, error=f"{cause.error}; {answer.why}")] if answer.why else self._causes
            return False
        self._causes.clear()
        self._enter(RunState.RESTARTING, str(cause))
        self._deadline = now + answer.pause
        self._comeback.announce(cause, self._roster.attempt + 1, answer.pause)
        return True

    def _enter(self, state: RunState, cause: str = "") -> None:
        self.state = state
        if not self._goes_on:
            self._comeback.forget_who_waits()
        self._roster.record(None, state.value, cause)
