"""Trainer: runs a Job's steps, many to a dispatch, and reports, checkpoints and stops between dispatches."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

import tensorflow as tf

from launcher.cluster.context import TaskContext
from launcher.runtime.checkpoint import Checkpoints
from launcher.runtime.job import Job, Shard
from launcher.runtime.metrics import Reporter, plain

_POLL = 0.02  # seconds between two looks at asynchronous progress
_FINISH = 12.0  # seconds that scheduled calls get to finish once the task was asked to stop
_ROUNDS = 10  # calls of each asynchronous worker after which the coordinator looks whether a checkpoint is due


class Stop:
    """Whether this task was asked to stop.

    Make it after the strategy: MultiWorkerMirroredStrategy's runtime installs a SIGTERM handler of its own that only
    takes a note, and plain SIGTERM no longer ends the task.
    """

    def __init__(self) -> None:
        self.asked_at: float | None = None
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked_at = self.asked_at or time.monotonic()

    @property
    def asked(self) -> bool:
        """Whether it was."""
        return self.asked_at is not None

    def asked_for(self, seconds: float) -> bool:
        """Whether it was, and that long ago."""
        return self.asked_at is not None and time.monotonic() - self.asked_at >= seconds


class Trainer:
    """What synchronous and asynchronous training share: the calendar of reports and checkpoints, and the figures."""

    def __init__(
        self, job: Job, strategy: tf.distribute.Strategy, context: TaskContext, reporter: Reporter, step: int
    ) -> None:
        """``step`` is that of the checkpoint to resume from; 0: begin anew."""
        self.job, self.strategy, self.reporter = job, strategy, reporter
        self._speaks = context.is_leader
        with strategy.scope():
            job.build()
        self.checkpoints = Checkpoints(context, job)
        self.checkpoints.restore(step)
        self.step = step
        self.reporter.resume_at(step)
        self._evaluated: Mapping[str, Any] = {}  # the figures of the present step, if it was evaluated
        self._stop = Stop()
        self._first_call: tuple[float, int] | None = None  # when the first call was over, and its step
        self._began = self._last_call = time.monotonic(), self.step

    def train(self) -> Mapping[str, Any] | None:
        """Train to the last step and return the final figures; None where the task was asked to stop before."""
        if self.step:
            self._print(f"resumed at step {self.step} of {self.job.steps}")
        while self.step < self.job.steps:
            save, stop = self._advance(self._next_stop())
            if save:
                self.checkpoints.save(self.step)
            if stop:
                return None
        if self.job.steps:
            self.checkpoints.save(self.step)
        return self._evaluated or plain(self.job.evaluate())

    def steps_per_second(self) -> float:
        """Return the speed of training, without the first call, which traces the step (unless it was the only one)."""
        ended, last = self._last_call
        at, step = self._first_call if self._first_call and self._first_call[1] < last else self._began
        return (last - step) / max(ended - at, 1e-9)

    def _next_stop(self) -> int:
        """Return the step up to which nothing but training happens."""
        stops = [self.job.steps]
        if self.job.report_every:
            stops.append((self.step // self.job.report_every + 1) * self.job.report_every)
        if step := self.checkpoints.next_step(self.step):
            stops.append(step)
        return min(stops)

    def _advance(self, target: int) -> tuple[bool, bool]:
        """Train towards the target, set ``step``, report; return whether to save a checkpoint, whether to stop."""
        raise NotImplementedError

    def _reached(self, step: int, figures: Mapping[str, Any]) -> None:
        """Report the step that was reached, with an evaluation where the job asks for one."""
        self.step = step
        self._last_call = time.monotonic(), step
        self._first_call = self._first_call or self._last_call
        evaluates = step == self.job.steps or (self.job.report_every and step % self.job.report_every == 0)
        self._evaluated = plain(self.job.evaluate()) if evaluates else {}
        record = self.reporter.report(self.job, step, {**figures, **self._evaluated})
        if evaluates:
            self._print(self.job.describe(record))

    def _print(self, line: str) -> None:
        if line and self._speaks:
            print(line, flush=True)


class SyncTrainer(Trainer):
    """Every training task runs the same steps together; each replica has its share of the global batch."""

    def __init__(
        self, job: Job, strategy: tf.distribute.Strategy, context: TaskContext, reporter: Reporter, step: int
    ) -> None:
        super().__init__(job, strategy, context, reporter, step)
        self._iterator: Any = None
        self._call = tf.function(self._steps)

    def _advance(self, target: int) -> tuple[bool, bool]:
        if self._iterator is None:
            self._iterator = iter(self.strategy.distribute_datasets_from_function(self._shares))
        count = min(self.job.steps_per_call, target - self.step)
        wishes = tf.constant([self.checkpoints.due(self.step + count), self._stop.asked], tf.int32)
        figures, wishes = self._call(self._iterator, tf.constant(count), wishes)
        self._reached(self.step + count, plain(figures))
        # Summed over all tasks: each takes the same decision after the same step, whatever its own clock says.
        save, stop = wishes.numpy()
        return bool(save or stop), bool(stop)

    def _shares(self, context: tf.distribute.InputContext) -> tf.data.Dataset:
        """Return one pipeline's dataset: what its replicas take in turn."""
        local = self.strategy.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * local
        shards = [Shard(first + i, self.strategy.num_replicas_in_sync) for i in range(local)]
        datasets = [self.job.dataset(shard).skip(self.step) for shard in shards]
        turns = tf.data.Dataset.range(local).repeat()
        dataset = datasets[0] if local == 1 else tf.data.Dataset.choose_from_datasets(datasets, turns)
        # Without this TensorFlow asks all workers before each step who has data left (distribute/input_lib.py:1906).
        return dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    def _steps(self, iterator: Any, count: tf.Tensor, wishes: tf.Tensor) -> tuple[Any, tf.Tensor]:
        figures = self.strategy.run(self.job.train_step, args=(next(iterator),))
        for _ in tf.range(count - 1):
            figures = self.strategy.run(self.job.train_step, args=(next(iterator),))
        total = tf.distribute.ReduceOp.SUM
        wishes = self.strategy.run(tf.identity, args=(wishes,))
        return tf.nest.map_structure(self._sum, figures), self.strategy.reduce(total, wishes, axis=None)

    def _sum(self, share: Any) -> tf.Tensor:
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, share, axis=None)


class AsyncTrainer(Trainer):
    """The coordinator schedules calls; every worker draws its own batches and updates the ps without waiting."""

    def __init__(
        self, job: Job, strategy: tf.distribute.Strategy, context: TaskContext, reporter: Reporter, step: int
    ) -> None:
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        super().__init__(job, strategy, context, reporter, step)
        self._workers = len(context.tensorflow_cluster["worker"])
        self._told = self.step
        with strategy.scope():
            self._applied = tf.Variable(self.step, dtype=tf.int64, trainable=False)
        self._iterator: Any = None
        self._call = tf.function(self._steps)

    def _advance(self, target: int) -> tuple[bool, bool]:
        if self._iterator is None:
            dataset = self._coordinator.create_per_worker_dataset(self._draws)
            self._iterator = iter(dataset)
        target = min(target, self.step + _ROUNDS * self._workers * self.job.steps_per_call)
        for count in self._shares(target - self.step):
            self._coordinator.schedule(self._call, args=(self._iterator, tf.constant(count)))
        while not self._coordinator.done():
            if self._stop.asked_for(_FINISH):
                return False, True  # the last checkpoint is what stays
            self._tell_progress()
            time.sleep(_POLL)
        self._coordinator.join()
        self._reached(target, {})
        stop = self._stop.asked
        return stop or self.checkpoints.due(target), stop

    def _draws(self) -> tf.data.Dataset:
        return self.job.dataset(Shard(deterministic=False))

    def _shares(self, steps: int) -> list[int]:
        """Split the steps into calls, equally many for each worker, none longer than ``steps_per_call``."""
        rounds = -(-steps // (self._workers * self.job.steps_per_call))
        calls = min(steps, rounds * self._workers)
        size, larger = divmod(steps, calls)
        return [size + (i < larger) for i in range(calls)]

    def _tell_progress(self) -> None:
        applied = int(self._applied.numpy())
        if applied > self._told:
            self._told = applied
            self.reporter.tell("progress", step=applied, steps=self.job.steps, figures={})

    def _steps(self, iterator: Any, count: tf.Tensor) -> None:
        for _ in tf.range(count):
            self.strategy.run(self.job.train_step, args=(next(iterator),))
        self._applied.assign_add(tf.cast(count, tf.int64))
