"""Supervisor: a state machine over what happens to a plan's tasks; it decides, an engine acts.

``handle`` takes one event and the time, and returns the actions that follow. There are no processes and no clock in
here, so that recorded histories can be replayed.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.supervise.causes import Cause, Causes
from launcher.supervise.events import (
    Action,
    ChoosePorts,
    Event,
    Exited,
    Inspect,
    Inspected,
    Reported,
    RunState,
    Signalled,
    TaskState,
    Tick,
    signal_name,
)
from launcher.supervise.hangs import Patience
from launcher.supervise.lost_workers import LostWorkers
from launcher.supervise.progress import Progress
from launcher.supervise.recovery import Recovery
from launcher.supervise.restarts import RestartBudget
from launcher.supervise.shutdown import SAVE_GRACE, Shutdown, StopSignals, time_to_save
from launcher.supervise.task_table import TaskTable
from launcher.supervise.training import Training

LEAVE_GRACE = 10.0  # seconds for tasks to exit by themselves once the leader is done
EVALUATE_GRACE = 60.0  # seconds more for an evaluator to see the last checkpoint; scoring has run.timeouts.evaluate
CAUSE_GRACE = 2.0  # seconds to wait for the first cause after one of its consequences was seen
FORMING_GRACE = 10.0  # seconds on top of start_timeout: the tasks themselves know better which are missing
AGREED_STOP = 128 + signal.SIGTERM  # exit code of a task if all agreed to stop, because one of them was asked to


class Supervisor:
    """The state of one run, and what to do next."""

    def __init__(
        self,
        roles: Mapping[Task, Role],
        leader: Task,
        start_timeout: float,
        patience: Patience,
        budget: RestartBudget | None = None,
        first_attempt: int = 1,
        lost_workers: LostWorkers | None = None,
        grace: float = SAVE_GRACE,
    ) -> None:
        """``start_timeout`` and ``grace`` (run.grace) are in seconds. Without ``budget`` nothing restarts.

        A resumed run has a ``first_attempt``.
        """
        self._table, self._roles, self._leader = TaskTable(roles, first_attempt), roles, leader
        self.tasks, self.attempts = self._table.states, self._table.attempts
        self._leads = leader in roles  # otherwise the leader runs on another machine
        self._start_timeout = start_timeout
        self.progress = Progress(leader, [task for task, role in roles.items() if role.steps])
        self.lost_workers = lost_workers or LostWorkers()
        self._recovery = Recovery(self._table, self.progress, budget or RestartBudget(0), self.lost_workers)
        self._training = Training(self._table, self.progress, self._recovery, leader, patience)
        self.state = RunState.FORMING
        self.stopped_by: int | None = None  # the signal, if the launcher was asked to stop
        self._stop_signals, self._grace = StopSignals(grace), grace
        self.result: Mapping[str, Any] | None = None  # as the leader reports it at the end
        self._causes = Causes()
        self._deadline: float | None = None  # of the present state
        self._shutdown: Shutdown | None = None  # if STOPPING
        self._restart_decided = False  # if STOPPING: whether there will be another attempt

    @property
    def done(self) -> bool:
        """Whether the leader brought the run to its end; if it runs elsewhere, whether every task here did."""
        if self._leads:
            return self.result is not None and self.tasks[self._leader] is TaskState.DONE
        return all(state in (TaskState.DONE, TaskState.LEFT_OUT) for state in self.tasks.values())

    @property
    def cause(self) -> Cause | None:
        """The first cause: the earliest error that is not the consequence of another task's end."""
        return self._causes.first

    @property
    def shown(self) -> Mapping[str, Any]:
        """What the live line shows."""
        return self._training.shown

    def begin(self, now: float) -> Sequence[Action]:
        """Start every task."""
        self._start(self.tasks, now)
        return self._table.take_actions()

    def handle(self, event: Event, now: float) -> Sequence[Action]:
        """Take one event in and return what follows from it."""
        match event:
            case Reported():
                self._reported(event, now)
            case Exited():
                self._exited(event, now)
            case Signalled():
                self._signalled(event.number, now)
            case Inspected():
                self._inspected(event, now)
            case Tick():
                pass
        self._check_clock(now)
        self._check_living(now)
        if self.state is RunState.RESTARTING:  # perhaps without a pause
            self._check_clock(now)
        return self._table.take_actions()

    # Reports

    def _reported(self, event: Reported, now: float) -> None:  # noqa: C901  # a table of reports, one case each
        match event.event:
            case "started":  # the task has checked which cores and GPUs it has
                self._table.record(event.task, "placed", details=event.details)
            case "phase" | "moving":
                self._training.in_phase(event, now)
            case "meeting":
                self._meets(event, now)
            case "ready":
                self._ready(event, now)
            case "extended" if self.state is RunState.FORMING and self._deadline:
                # A checkpoint of gigabytes is verified, sent or received, and that goes on.
                self._deadline = max(self._deadline, now + event.details["seconds"] + FORMING_GRACE)
            case "left_out":
                for name in event.details["tasks"]:
                    self._recovery.leave_out(Task.parse(name), f"{name} did not join the rendezvous")
            case "progress" if self._roles[event.task].joins_cluster:
                self._training.progressed(event, now)
            case "alive" | "busy" | "finished" | "idle":
                self._training.heard(event, now, is_formed=self.state is RunState.TRAINING)
            case "result":
                self.result = event.details

    def _meets(self, event: Reported, now: float) -> None:
        self._table.set_state(event.task, TaskState.MEETING)
        self._recovery.mark("starting", event.task, now)
        self._training.meets(event.task, now)
        if self.state is RunState.FORMING:  # from here on the task itself waits for as long
            self._recovery.mark("starting", None, now)  # that of the last one stays
            self._deadline = now + self._start_timeout + FORMING_GRACE

    def _ready(self, event: Reported, now: float) -> None:
        self._table.set_state(event.task, TaskState.READY)
        self._training.ready(event, now)
        if self.state is RunState.FORMING and all(self.tasks[task] is TaskState.READY for task in self._table.gang):
            self._enter(RunState.TRAINING)
            self._recovery.begin_training(now)
            self._deadline = None
            self._training.formed(now)

    # Ends of tasks, and signals

    def _exited(self, event: Exited, now: float) -> None:
        if self.tasks[event.task] is TaskState.LEFT_OUT:
            return
        if self.state is RunState.RESTARTING and (event.code == 0 or Cause.of(event).retryable):
            self._table.ended(event)  # an evaluator; it restarts with the others
        elif event.code == AGREED_STOP and event.error is None and self._is_running:
            self._table.ended(event)
            self._signalled(signal.SIGTERM, now)
        elif self._is_failure(event):
            self._failed(Cause.of(event), now)
        else:
            self._table.ended(event)
            if event.task == self._leader and event.code == 0 and self.state is not RunState.STOPPING:
                self._leader_ended(now)

    @property
    def _is_running(self) -> bool:
        return self.state in (RunState.FORMING, RunState.TRAINING)

    def _is_failure(self, event: Exited) -> bool:
        if self.state is RunState.LEAVING:
            return False  # the run is complete: tasks that still ran have nothing left to do
        if self.state is RunState.STOPPING:
            # A task that a signal ended before any task was asked to end may be the first cause.
            asked = self._shutdown is not None and self._shutdown.has_asked
            unasked = not asked and event.code != 0 and self._causes.retryable
            return (event.error is not None or unasked) and self.stopped_by is None
        # Tasks exit with 0 once all have agreed on the end, which the leader has reported before.
        too_early = self._leads and self.result is None and self._roles[event.task].joins_cluster
        return event.code != 0 or too_early

    def _failed(self, cause: Cause, now: float) -> None:
        self._table.set_state(cause.task, TaskState.FAILED, cause.error)
        is_evaluator = not self._roles[cause.task].joins_cluster
        may_restart_alone = self.state is RunState.TRAINING or (is_evaluator and self._is_running)
        if may_restart_alone and self._recovery.restart_alone(cause, now):
            return
        self._causes.add(cause, now)
        if self.state is not RunState.STOPPING:
            self._stop(str(cause), Shutdown(now + (CAUSE_GRACE if cause.consequence else 0.0)))
            if cause.consequence:  # perhaps of a task that has not ended: one that is suspended answers nobody
                self._table.add(*(Inspect(task, can_answer=False) for task in self._table.living(self._table.gang)))

    def _inspected(self, found: Inspected, now: float) -> None:
        self._training.note(found)
        if found.suspended and self.state is RunState.STOPPING and self._causes.first and self._causes.retryable:
            self._causes.add(Cause.suspended(found.task), now)

    def _leader_ended(self, now: float) -> None:
        self._enter(RunState.LEAVING)
        self._deadline = now + LEAVE_GRACE
        # A task that is still restarting has no rendezvous to join any more.
        late = (TaskState.STARTED, TaskState.MEETING)
        self._table.kill([task for task in self._table.gang if self.tasks[task] in late], signal.SIGKILL)

    def _signalled(self, number: int, now: float) -> None:
        shortens = self._stop_signals.shortens(number, now)
        grace = time_to_save(number, self._grace, self.progress.longest_gap)
        if self.stopped_by is not None and self._shutdown:
            if shortens:
                self._shutdown.kill(self._table, now)
            return
        if self._would_restart:
            self._causes.clear()  # a run that would have restarted counts as stopped, not as failed
        self.stopped_by = number
        trains = self.state is RunState.TRAINING
        if trains:
            again = "; Ctrl-C again ends them at once" if number == signal.SIGINT else ""
            limit = f"at most {grace:g} s{again}"
            self._table.say(f"stopping: the tasks finish their current steps and write a checkpoint ({limit})")
        self._stop(signal_name(number), Shutdown(now, self._leader if trains else None, grace))

    @property
    def end_by(self) -> float:
        """By when everything is to have ended, if a signal has asked for it; otherwise infinite."""
        return self._stop_signals.limits.end_by

    # The clock

    def _check_clock(self, now: float) -> None:
        match self.state:
            case RunState.FORMING:
                self._check_formed(now)
            case RunState.TRAINING:
                if cause := (self._training.find_hang if self._expects_steps else self._training.find_overdue)(now):
                    self._give_up(cause, now)
            case RunState.LEAVING if self._deadline_passed(now) and not self._still_evaluates(now):
                self._stop("the leader has finished", Shutdown(now))
            case RunState.STOPPING if self._shutdown:
                will_restart = self._would_restart and not self._restart_decided
                self._shutdown.advance(self._table, now, self._stop_signals.limits, will_restart=will_restart)
            case RunState.RESTARTING if self._deadline_passed(now):
                self._start(self._table.to_restart(), now)
            case _:
                pass
        if self._is_running:
            self._training.end_overdue_evaluator(now)
        self._recovery.start_due(now)

    def _deadline_passed(self, now: float) -> bool:
        return self._deadline is not None and now >= self._deadline

    def _check_formed(self, now: float) -> None:
        cause = self._training.find_overdue(now)
        if cause is None and self._deadline_passed(now):
            cause = self._training.find_late(self._start_timeout, now)
        if cause is not None:
            self._give_up(cause, now)

    @property
    def _expects_steps(self) -> bool:
        return self.result is None if self._leads else self.progress.has_steps_left

    def _give_up(self, cause: Cause, now: float) -> None:
        self._causes.add(cause, now)
        self._stop(cause.error, Shutdown(now))

    def _still_evaluates(self, now: float) -> bool:
        late = self._table.living(self.tasks)
        in_time = now < max(self._deadline or 0.0, self._training.evaluated_at) + EVALUATE_GRACE
        waits = in_time or self._training.evaluates(now)
        return waits and not any(self._roles[task].joins_cluster for task in late)

    # States

    def _check_living(self, now: float) -> None:
        waits = self.state is RunState.RESTARTING or self._recovery.is_pending
        if self.state is RunState.OVER or waits or self._table.living(self._table.gang):
            return
        if self.state is RunState.STOPPING and not self._restart_decided:
            self._restart_decided = True
            if self._restart(now):
                return
        if not self._table.living(self.tasks):
            self._enter(RunState.OVER)
            self._say_what_is_not_scored()
        elif self._shutdown and self._shutdown.keeps_evaluator:
            self._shutdown = Shutdown(now)  # there will be no next attempt after all

    def _say_what_is_not_scored(self) -> None:
        """Name an evaluator that has failed, or took too long: the training is done all the same."""
        for task, role in self._roles.items():
            if self.done and not role.joins_cluster and self.tasks[task] is not TaskState.DONE:
                self._table.say(f"the training is done, but {task} has not scored the last checkpoint; see its log")

    def _start(self, tasks: Collection[Task], now: float) -> None:
        """Start these tasks, as one attempt with the next number."""
        self._table.begin_attempt(tasks)
        self._deadline, self.result = now + self._start_timeout + FORMING_GRACE, None
        self._restart_decided = False
        self._training.begin(now)
        if self.state is not RunState.FORMING:
            self._recovery.mark("waiting", None, now)
            self._enter(RunState.FORMING)
            self._table.add(ChoosePorts())
        for task in tasks:
            self._table.start(task)

    def _stop(self, why: str, shutdown: Shutdown) -> None:
        self._enter(RunState.STOPPING, why)
        self._shutdown = shutdown

    @property
    def _would_restart(self) -> bool:
        return self.stopped_by is None and self.cause is not None and self._recovery.would_restart(self.cause)

    def _restart(self, now: float) -> bool:
        """Schedule the next attempt of all tasks if it may help; whether there is one."""
        cause = self.cause
        if cause is None or self.stopped_by is not None or self.done:
            return False
        decision = self._recovery.restart_all(cause, self._causes.since, now)
        if decision.pause is None:
            self._causes.explain(decision.why)
            return False
        self._causes.clear()
        self._enter(RunState.RESTARTING, str(cause))
        self._deadline = now + decision.pause
        self._recovery.announce(cause, self._table.last_attempt + 1, decision.pause)
        return True

    def _enter(self, state: RunState, cause: str = "") -> None:
        self.state = state
        if not self._is_running:
            self._recovery.cancel_pending()
        self._table.record(None, state.value, cause)
