"""Trainer: runs a Job's steps, many per dispatch, and reports, checkpoints and stops between dispatches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from launcher.contract.context import TaskContext
from launcher.contract.history import trained
from launcher.contract.phases import Phase
from launcher.errors import UsageError
from launcher.runtime.checkpoint.checkpoints import Checkpoints
from launcher.runtime.figures import by_name, plain
from launcher.runtime.job import Job
from launcher.runtime.reporter import Reporter
from launcher.runtime.training.call_length import CallLength
from launcher.runtime.training.finite import refuse_figures
from launcher.runtime.training.load import build
from launcher.runtime.training.pulse import Pulse
from launcher.runtime.training.stop import Stop


class Trainer:
    """What synchronous and asynchronous training share: when to report and to save, and the figures."""

    def __init__(
        self, job: Job, strategy: tf.distribute.Strategy, context: TaskContext, reporter: Reporter, stop: Stop
    ) -> None:
        self.job, self.strategy, self.reporter = job, strategy, reporter
        self.step = 0
        self.repeated = 0  # updates that may have been applied twice
        self.checkpoints = Checkpoints(context, job)
        self.pulse = Pulse(reporter)
        self._length = CallLength()
        self._context, self._stop = context, stop
        self._trained_before = 0, 0.0  # steps and seconds of the attempts before
        self._evaluated: Mapping[str, Any] | None = None  # the figures of the present step, if it was evaluated
        self._first_call: tuple[float, int] | None = None  # when the first call ended, and its step
        self._began = self._last_call = time.monotonic(), self.step

    def prepare(self, step: int) -> None:
        """Build the job, and restore the checkpoint of this step; 0 begins anew.

        UsageError if the job sets no steps, or now ends before that step, or if the checkpoint does not fit it.
        """
        self.pulse.enter(Phase.BUILD)
        with self.strategy.scope():
            build(self.job)
        self._length = CallLength(self.job.steps_per_call)
        if step > self.job.steps:
            raise UsageError(
                f"the run is at step {step}, and the job's args now end at step {self.job.steps}: let them reach "
                "further, or start a new run"
            )
        self.repeated = self.checkpoints.restore(step)
        self.step = step
        self.reporter.resume_at(step)
        self._trained_before = trained(self.reporter.history)
        self._began = self._last_call = time.monotonic(), step

    def train(self) -> Mapping[str, Any] | None:
        """Train to the last step and return the final figures; None if the task was asked to stop before."""
        if self.step:
            self._print(f"resumed at step {self.step} of {self.job.steps}")
        try:
            return self._train()
        finally:
            self.pulse.end()

    def _train(self) -> Mapping[str, Any] | None:
        while self.step < self.job.steps:
            # The first call is in this phase until its first batch has come.
            self.pulse.enter(Phase.TRAIN if self._first_call else Phase.DATA)
            save, stop = self._advance(self._next_target())
            if save:
                self._save()
            if stop:
                return None
        if self.job.steps:
            self._save()
        if self._evaluated is None:
            self._evaluated = self._evaluate()
            self._check(self._evaluated)
        return plain(self._evaluated)

    def _save(self) -> None:
        self.pulse.enter(Phase.SAVE)
        self.checkpoints.save(self.step, self.repeated)

    def _evaluate(self) -> Mapping[str, Any]:
        self.pulse.enter(Phase.EVALUATE)
        return by_name(self.job.evaluate(), "evaluate")

    def steps_per_second(self) -> float:
        """Return the speed of the whole run's training, without each attempt's first call, which traces the step.

        This attempt's counts if it was the only one.
        """
        ended, last = self._last_call
        at, step = self._first_call if self._first_call and self._first_call[1] < last else self._began
        steps, seconds = self._trained_before
        return (steps + last - step) / max(seconds + ended - at, 1e-9)

    @property
    def updates(self) -> Mapping[str, int] | None:
        """How often the model was updated, if that is not once for each step."""
        return None

    def _next_target(self) -> int:
        """Return the step up to which nothing but training happens."""
        targets = [self.job.steps]
        if self.job.report_every:
            targets.append((self.step // self.job.report_every + 1) * self.job.report_every)
        if step := self.checkpoints.next_step(self.step):
            targets.append(step)
        return min(targets)

    def _advance(self, target: int) -> tuple[bool, bool]:
        """Train towards the target, set ``step``, report; return whether to save a checkpoint, whether to stop."""
        raise NotImplementedError

    def _reached(self, step: int, figures: Mapping[str, Any], step_times: Mapping[str, float]) -> None:
        """Report the step that was reached, with an evaluation if the job asks for one; then look for NaN.

        ``step_times`` has each worker's own seconds per step, as far as they are known.
        """
        self.step = step
        self._last_call = time.monotonic(), step
        self._first_call = self._first_call or self._last_call
        evaluates = step == self.job.steps or (self.job.report_every and step % self.job.report_every == 0)
        self._evaluated = self._evaluate() if evaluates else None
        figures = {**figures, **(self._evaluated or {})}
        record = self.reporter.report(self.job, step, figures, step_times)
        self._check(figures)
        if evaluates:
            self._print(self.job.describe(record))

    def _check(self, figures: Mapping[str, Any]) -> None:
        """Raise LauncherError for a figure that is NaN or infinite, unless the run ignores them."""
        if self._context.nan == "stop":
            refuse_figures(figures, self.step)

    def _print(self, line: str) -> None:
        if line and self._context.is_leader:
            print(line, flush=True)


def in_turn(datasets: Sequence[tf.data.Dataset]) -> tf.data.Dataset:
    """Return one pipeline's dataset, from which its replicas take in turn."""
    turns = tf.data.Dataset.range(len(datasets)).repeat()
    dataset = datasets[0] if len(datasets) == 1 else tf.data.Dataset.choose_from_datasets(datasets, turns)
    # Without this TensorFlow asks all workers before each step who has data left (distribute/input_lib.py:1906).
    return dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
