"""What a task does from the rendezvous to its end, by its role."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import os
import signal
import threading
import time
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from launcher.contract.context import TaskContext
from launcher.contract.phases import Phase
from launcher.contract.roles import Role
from launcher.errors import LauncherError
from launcher.rundir import RunFiles
from launcher.runtime.checkpoint.checkpoints import Checkpoints
from launcher.runtime.checkpoint.saved import Saved
from launcher.runtime.failure import leave, record
from launcher.runtime.figures import by_name
from launcher.runtime.job import Job
from launcher.runtime.rendezvous.meeting import Meeting, meeting
from launcher.runtime.rendezvous.messages import ALIVE_EVERY
from launcher.runtime.reporter import Reporter
from launcher.runtime.training.asynchronous import AsyncTrainer
from launcher.runtime.training.finite import refuse_figures
from launcher.runtime.training.load import build, load_job
from launcher.runtime.training.placement_check import check_devices, check_placement
from launcher.runtime.training.pulse import Pulse
from launcher.runtime.training.server import start_server
from launcher.runtime.training.stop import Stop
from launcher.runtime.training.strategy import build_strategy
from launcher.runtime.training.sync import SyncTrainer
from launcher.runtime.training.trainer import Trainer

_LOOK_EVERY = 0.5  # seconds between an evaluator's searches for a new checkpoint


def run_task(context: TaskContext) -> bool:
    """Run this task to its end; return False if it was asked to stop before."""
    reporter = Reporter(context)
    reporter.tell("started", **check_placement(context))
    match context.role:
        case Role.TRAIN:
            return _train(context, reporter, SyncTrainer)
        case Role.COORDINATE:
            return _train(context, reporter, AsyncTrainer)
        case Role.COMPUTE | Role.SERVE:
            return _serve(context, reporter)
        case Role.EVALUATE:
            return _evaluate(context, reporter)


def _train(context: TaskContext, reporter: Reporter, trainer_class: type[Trainer]) -> bool:
    job, stop = load_job(context), Stop()
    with _meeting(context, reporter) as met:
        context = _without_the_missing(context, reporter, met)
        strategy = build_strategy(context)
        stop.listen()  # TensorFlow would take the signal from here on, and do nothing about it
        met.watch(partial(_leave, context))
        reporter.tell("ready", devices=check_devices(context), step=met.step)
        trainer = trainer_class(job, strategy, context, reporter, stop)
        trainer.prepare(met.step)
        figures = trainer.train()
        reporter.tell("finished")
        if figures is not None and context.is_leader:
            trainer.pulse.enter(Phase.REPORT)
            job.report(RunFiles(Path(context.run_directory)), reporter.history)
            reporter.tell("result", metrics=figures, **_summary(trainer))
        met.finish(stopped=figures is None)
    return figures is not None


def _leave(context: TaskContext, error: LauncherError) -> NoReturn:
    """End this task, which may be in the middle of a step that will never end; its log says where it was."""
    faulthandler.dump_traceback()
    leave(record(context, error))


def _summary(trainer: Trainer) -> Mapping[str, Any]:
    speed = round(trainer.steps_per_second(), 3)
    return {"steps": trainer.step, "steps_per_s": speed, "updates": trainer.updates}


def _serve(context: TaskContext, reporter: Reporter) -> bool:
    with _meeting(context, reporter) as met:
        server = start_server(_without_the_missing(context, reporter, met))
        # Whoever asks all tasks to stop at once, as Docker and Slurm do, asks the leader, too: it needs this server for
        # its last checkpoint, and then says that the run is over. If it does not, the launcher ends this process.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        reporter.tell("ready", target=server.target)
        _send_heartbeats(reporter)
        return met.wait_for_end()


def _send_heartbeats(reporter: Reporter) -> None:
    """Tell the launcher every few seconds that this task, which makes no steps, does not hang."""

    def send() -> None:
        while True:
            time.sleep(ALIVE_EVERY)
            with contextlib.suppress(LauncherError):  # if it lasts, the launcher takes this task for one that hangs
                reporter.tell("alive")

    threading.Thread(target=send, daemon=True).start()


def _meeting(context: TaskContext, reporter: Reporter) -> Meeting:
    deadline = time.monotonic() + context.start_timeout  # importing, which has a bound of its own, is over

    def tell(missing: Collection[str]) -> None:
        print(f"waiting for {', '.join(missing)}", flush=True)
        reporter.tell("waiting", missing=list(missing))

    def extended(seconds: float) -> None:
        reporter.tell("extended", seconds=seconds)

    reporter.tell("meeting")
    return meeting(context, deadline, tell, extended)


def _without_the_missing(context: TaskContext, reporter: Reporter, met: Meeting) -> TaskContext:
    """Return the context of this task once all have met: without the workers that were left out."""
    if met.left_out == context.left_out:
        return context
    if context.is_leader:
        reporter.tell("left_out", tasks=[str(task) for task in met.left_out if task not in context.left_out])
    context = dataclasses.replace(context, left_out=met.left_out)
    os.environ["TF_CONFIG"] = context.tf_config  # TFConfigClusterResolver reads it there
    return context


def _evaluate(context: TaskContext, reporter: Reporter) -> bool:
    """Score every checkpoint that appears, until that of the last step."""
    strategy = build_strategy(context)
    job, stop, pulse = load_job(context), Stop(), Pulse(reporter)
    pulse.enter(Phase.BUILD)
    with strategy.scope():
        build(job)
    checkpoints, scored = Checkpoints(context, job), reporter.last_step()
    stop.listen()
    forgets_at = time.monotonic() + context.start_timeout
    reporter.tell("ready", devices=check_devices(context))
    _send_heartbeats(reporter)
    pulse.rest()
    while scored < job.steps and not stop.asked:
        # Asked first: the last checkpoint is written before the result.
        over = _is_over(context, since=context.launched if time.monotonic() < forgets_at else 0.0)
        newest = checkpoints.newest(other_than=scored)
        if newest and _read(checkpoints, newest, pulse):
            scored = newest.step
            _score(context, job, reporter, scored)
            pulse.rest()
        elif over:
            return False
        else:
            time.sleep(_LOOK_EVERY)
    if scored < job.steps:
        stop.obey()  # an evaluator agrees on no stop with the others: if only it was asked, it restarts alone
    return True


def _read(checkpoints: Checkpoints, saved: Saved, pulse: Pulse) -> bool:
    """Read a checkpoint, to be evaluated next; return whether it is sound."""
    pulse.enter(Phase.BUILD)
    sound = checkpoints.read_sound(saved)
    if sound:
        pulse.enter(Phase.EVALUATE)
    else:
        pulse.rest()
    return sound


def _is_over(context: TaskContext, since: float) -> bool:
    """Whether a launcher that shares the run's directory has ended the run since then, so that nothing more comes.

    An older result is that of the attempt which this one resumes: the leader's launcher removes it as it starts.
    """
    try:
        return RunFiles(Path(context.run_directory)).result.stat().st_mtime > since
    except FileNotFoundError:
        return False


def _score(context: TaskContext, job: Job, reporter: Reporter, step: int) -> None:
    figures = by_name(job.evaluate(), "evaluate")
    print(job.describe(reporter.report(job, step, figures)), flush=True)
    if context.nan == "stop":
        refuse_figures(figures, step)
