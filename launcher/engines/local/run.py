"""LocalRun: tasks as processes of this machine. Carries events to the Supervisor and does what it decides."""

from __future__ import annotations

import dataclasses
import errno
import selectors
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from launcher.contract.environment import TASK_KEY
from launcher.contract.phases import Phase
from launcher.contract.task import Task
from launcher.engines.engine import Screen
from launcher.engines.event_log import EventLog
from launcher.engines.event_loop import EventLoop
from launcher.engines.local.addresses import Addresses
from launcher.engines.local.network.settled import Network
from launcher.engines.local.ports import HeldPorts
from launcher.engines.local.process import Processes
from launcher.engines.local.stacks import StackDumps
from launcher.engines.local.start_method import forked
from launcher.engines.local.task_pipes import TaskPipes
from launcher.engines.run_key import new_key, shared_token
from launcher.errors import LauncherError, UsageError
from launcher.host.out_of_memory import OutOfMemory
from launcher.plan.plan import Plan, TaskPlan
from launcher.rundir import RunFiles
from launcher.spec.keras_use import job_uses_keras
from launcher.spec.timeouts import by_phase
from launcher.supervise.events import (
    Abandon,
    Action,
    ChoosePorts,
    Event,
    Exited,
    Inspect,
    Kill,
    Record,
    Reported,
    RunState,
    Say,
    Signalled,
    Start,
    Tick,
)
from launcher.supervise.hangs import Patience
from launcher.supervise.lost_workers import LostWorkers
from launcher.supervise.restarts import RestartBudget
from launcher.supervise.result import Ending, Outcome, conclude, read_error
from launcher.supervise.shutdown import Limits
from launcher.supervise.supervisor import Supervisor
from launcher.whole_files import write_json

# What a write to a file fails with, which has no name by then.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS, errno.ESTALE)
_TICK = 0.1  # seconds to wait for events before the clock is read
_NO_KEY = (
    "no key: whoever can read the cluster file and reaches the rendezvous could join this run; "
    "launcher config key makes a key"
)
_TASK_COMMAND = (sys.executable, "-P", "-m", "launcher.runtime.main")


class LocalRun:
    """A run on this host: the plan's tasks that belong here, from their first start to their end, restarts included."""

    def __init__(
        self,
        plan: Plan,
        tasks: Iterable[TaskPlan],
        files: RunFiles,
        screen: Screen,
        *,
        network: Literal["private", "host"],
        ports: HeldPorts | None = None,
        began: float,
        command: Sequence[str] = _TASK_COMMAND,
        locks: Sequence[int] = (),
        key: str = "",
    ) -> None:
        """``began`` is when the launcher began, in seconds of ``time.monotonic``; ``command`` starts a task.

        ``ports`` holds those of the tasks already, if anything does. ``locks`` are the run's, open until the last task
        has ended (engines/run_lock.py). ``key`` is that of a run of several launchers.
        """
        self._plan, self._files, self._began = plan, files, began  # the plan but for its ports, which may change
        self.addresses = Addresses(plan, tasks, network, ports)
        self._command, self._locks = command, locks
        self._launched = time.time() - (time.monotonic() - began)
        here = self.addresses.tasks
        self._forked = frozenset() if command is not _TASK_COMMAND else self._to_fork()
        self._keras = bool(self._forked) and job_uses_keras(plan.spec.job, Path(plan.directory))
        is_whole = len(here) == len(plan.tasks)  # no other launcher's tasks come to the rendezvous
        self._is_open = not is_whole and not key  # to whoever has the cluster file
        self._token = new_key() if is_whole else key or shared_token(plan)
        first_attempt = files.next_attempt(task.slug for task in here)
        # Other launchers that share the directory may have begun already, which resumes nothing.
        self._before = before = files.elapsed() if first_attempt > 1 else 0.0
        self._resumed = {"steps": files.last_checkpoint(), "wall_s": before} if first_attempt > 1 else None
        self._supervisor = _supervisor(plan, here, first_attempt)
        self._errors: dict[Task, Mapping[str, Any]] = {}  # reported by tasks that could not write them down
        self._stacks = StackDumps(files)
        self._events: list[Event] = []
        self._leads = plan.leader in here
        self._log = EventLog(files, self._launched, before)
        self._loop = EventLoop(screen, lambda number: self._events.append(Signalled(number)))
        self._pipes = TaskPipes(self._loop.selector, self._loop.line, self._reported)

    @property
    def is_closed(self) -> bool:
        """Whether the tasks' network reaches nothing outside, as far as it is known by now."""
        return self.addresses.is_closed

    def run(self, headline: str = "") -> Outcome:
        """Say the headline, run to the end, whatever it is, and write result.json.

        LauncherError if files cannot be written, or this machine refuses a process or anything else.
        """
        try:
            with self._loop.signals():
                self._run(headline)
                return self._concluded()
        except OSError as error:
            raise LauncherError(f"{self._refused(error)}: {error.strerror or error}; every task was ended") from error
        finally:
            self._log.close()

    def _refused(self, error: OSError) -> str:
        """Return what it was that failed."""
        directory, name = self._files.directory, error.filename
        if Path(str(name)).is_relative_to(directory) or (name is None and error.errno in _FULL):
            return f"cannot write to the run directory {directory}"
        return f"cannot use {name}" if name else "this machine refused what the launcher needs"

    def _run(self, headline: str) -> None:
        if self._leads:
            self._files.result.unlink(missing_ok=True)  # of the attempt that this one continues
        with ExitStack() as stack:
            if headline:  # its reader may already press Ctrl-C
                self._loop.say(headline)
            for damage in self._files.damaged():
                self._loop.say(damage)
            if self._is_open:
                self._loop.say(_NO_KEY)
            stack.enter_context(self.addresses.held)
            # TensorFlow leaves files behind if a process ends without Python's exit, as its tasks do.
            self._scratch = stack.enter_context(TemporaryDirectory(prefix="launcher-", ignore_cleanup_errors=True))
            # Not in their scratch space, which the job may empty.
            reports = stack.enter_context(TemporaryDirectory(prefix="launcher-reports-"))
            self._reports = Path(reports)
            self._processes = processes = stack.enter_context(
                Processes(self.addresses.network, self._locks, self._plan.spec.run.keep_warm or 0.0, self._loop.say)
            )
            processes.remove_after(self._scratch, reports)
            self._loop.selector.register(processes.connection, selectors.EVENT_READ, self._spawner_says)
            self._memory = stack.enter_context(OutOfMemory())
            if self._settle_network():
                self._act(self._supervisor.begin(time.monotonic()))
            while self._supervisor.state is not RunState.OVER:
                self._turn()
            processes.end_by = self._supervisor.end_by

    def _concluded(self) -> Outcome:
        """Return how the run ended, written down."""
        ending = Ending.of(self._supervisor, self._began, time.monotonic())
        outcome = conclude(self._plan, self._files, dataclasses.replace(ending, resumed=self._resumed))
        if outcome.cause and outcome.cause.out_of_memory and not self._leads:
            # The task could not write it, and the leader's launcher only knows that the task is missing.
            write_json(self._files.error(outcome.attempt, outcome.cause.task.slug), outcome.cause.to_error())
        # One launcher of several writes the result if they share the directory; the others only how they failed.
        if self._leads or (outcome.exit_code and not self._files.result.exists()):
            write_json(self._files.result, outcome.result.to_dict())
        return outcome

    def _settle_network(self) -> bool:
        """Hear which network the spawner got; False if a signal came first, so that nothing is to start."""
        network = self._processes.first_word(self._waits_unasked)
        if network is not None:
            self.addresses.settle(network, self._loop.say)
        return network is not None

    def _waits_unasked(self) -> bool:
        self._loop.wait(_TICK)
        return not self._events  # of which there are none yet but signals

    # Events in

    def _turn(self) -> None:
        self._loop.wait(_TICK)
        self._memory.look()
        self._processes.watch()
        for event in [*self._take_events(), *self._stacks.found(self._processes), Tick()]:
            self._act(self._supervisor.handle(event, time.monotonic()))
        self._loop.progress(self._supervisor.shown)

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _spawner_says(self) -> None:
        try:
            messages = list(self._processes.receive())
        except EOFError:
            self._loop.selector.unregister(self._processes.connection)
            self._events += map(self._ended_with_spawner, self._pipes.tasks)
            return
        for message in messages:
            if "exited" in message:
                self._ended(Task.parse(message["exited"]), message)
            elif "imports" in message:  # the fork server, for a task that waits for it
                self._events.append(Reported(Task.parse(message["imports"]), "phase", {"phase": Phase.IMPORT}))
            elif "spawns" in message:
                self._spawns(message["spawns"])
            elif "closed" in message:  # in the middle of the run, which goes on
                self.addresses.cut_off(Network(closed=message["closed"]), self._loop.say)
                self._note("closed", message["closed"])

    def _to_fork(self) -> frozenset[Task]:
        if self._plan.spec.run.start_method == "spawn":
            return frozenset()
        return forked({task: plan.environment or {} for task, plan in self.addresses.tasks.items()})

    def _spawns(self, why: str) -> None:
        """Take in that tasks are not forked."""
        if self._plan.spec.run.start_method == "fork":
            raise UsageError(f"run.start_method is fork, and tasks cannot be forked here: {why}; write auto or spawn")
        self._loop.say(f"each task imports TensorFlow itself: {why}")
        self._note("spawns", why)

    def _note(self, what: str, why: str) -> None:
        """Write down a fact of this machine that a run's tasks depend on."""
        self._record(Record(None, what, why, attempt=max(self._supervisor.attempts.values())))

    def _ended(self, task: Task, message: Mapping[str, Any]) -> None:
        if task not in self._pipes.tasks:
            return  # it was given up before
        self._pipes.catch_up(self._plan.leader)  # whatever made this task end, the leader reported before
        self._pipes.close(task)
        error = self._error_of(task)
        time_ns = error["time_ns"] if error else message["time_ns"]
        killed = message["code"] == -signal.SIGKILL
        memory = self._memory.explain(message.get("pid")) if killed else ""
        self._events.append(Exited(task, message["code"], error, time_ns, message.get("why", ""), memory))

    def _error_of(self, task: Task) -> Mapping[str, Any] | None:
        """Return what a task that has ended tells of its error, in its error.json or, if it could not, by its pipe."""
        reported = self._errors.pop(task, None)
        try:
            return read_error(self._files.error(self._supervisor.attempts[task], task.slug)) or reported
        except LauncherError as damage:
            self._loop.say(f"{task}: {damage}")
            return reported

    def _reported(self, event: Reported) -> None:
        if event.event == "failed":
            self._errors[event.task] = event.details["error"]
        else:
            self._events.append(event)

    # Actions out

    def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Start(task, attempt):
                    self._start(self.addresses.tasks[task], attempt)
                case Kill(task, number):
                    self._processes.kill(task, number)
                case Abandon(task):
                    self._abandon(task)
                case Inspect():
                    self._stacks.ask(action, self._supervisor.attempts[action.task], self._processes)
                case ChoosePorts():
                    self.addresses.renew(self._files)
                case Say(text):
                    self._loop.say(text)
                case Record():
                    self._record(action)

    def _abandon(self, task: Task) -> None:
        self._pipes.close(task)
        why = f"its process{self._processes.named(task)} was killed, and the kernel has not ended it"
        self._processes.forget(task)
        self._loop.say(f"{task}: {why}; it is left behind")
        self._events.append(Exited(task, -signal.SIGKILL, time_ns=time.time_ns(), why=why))

    def _start(self, task: TaskPlan, attempt: int) -> None:
        self._files.prepare_attempt(attempt)
        reports, plan = self._reports / task.task.slug, self.addresses.plan
        context = dataclasses.replace(
            plan.context(task),
            run_directory=str(self._files.directory),
            launched=self._launched,
            ran_before=self._before,
            attempt=attempt,
            token=self._token,
            save_within=Limits.of(plan.spec.run.grace).kill_by,
            reports=str(reports),
            left_out=self._supervisor.lost_workers.left_out,
        )
        environment = {"TMPDIR": self._scratch} | plan.environment(task, context)
        environment[TASK_KEY] = context.carried(reports.with_suffix(".json"))
        output = self._pipes.open(task.task, self._files.log(attempt, task.task.slug), reports)
        fork = task.task in self._forked
        self._processes.start(task.task, self._command, environment, output, fork=fork, keras=self._keras)
        self._pipes.started(task.task)
        if self._processes.has_gone:  # while no task ran that would have told of it
            self._events.append(self._ended_with_spawner(task.task))

    def _record(self, record: Record) -> None:
        self._log.write(record, trains=self._supervisor.state is RunState.TRAINING)

    def _ended_with_spawner(self, task: Task) -> Exited:
        # Nobody is left who could start it again, which ``why`` tells the Supervisor.
        return Exited(task, -signal.SIGKILL, time_ns=time.time_ns(), why=self._processes.fate)


def _supervisor(plan: Plan, here: Mapping[Task, TaskPlan], first_attempt: int) -> Supervisor:
    run = plan.spec.run
    return Supervisor(
        {task: placed.role for task, placed in here.items()},
        plan.leader,
        run.start_timeout,
        Patience(run.stall_timeout, by_phase(run.timeouts), whole=len(here) == len(plan.tasks)),
        RestartBudget(run.restarts),
        first_attempt,
        LostWorkers(plan.quorum),
        run.grace,
    )
