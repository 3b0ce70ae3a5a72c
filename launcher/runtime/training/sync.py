"""Synchronous training: every training task runs the same steps together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from launcher.contract.context import TaskContext
from launcher.runtime.figures import by_name
from launcher.runtime.job import Job, Shard
from launcher.runtime.training.trainer import Trainer, in_turn


class SyncTrainer(Trainer):
    """Every training task runs the same steps together; each replica has its share of the global batch."""

    def __init__(self, job: Job, strategy: tf.distribute.Strategy, context: TaskContext, *more: Any) -> None:
        super().__init__(job, strategy, context, *more)
        self._iterator: Any = None
        self._call, self._skip = tf.function(self._steps), tf.function(self._draws)
        self._workers = list(map(str, context.members))
        self._index = self._workers.index(str(context.task)) if context.members else 0
        self._replicas = strategy.num_replicas_in_sync // max(1, len(self._workers))  # of this task
        self._measures = False
        self._last_count, self._last_time = 0, 0.0  # the steps of the last call, and its seconds
        self._own_time = 0.0  # seconds per step that this task spent on its own share of the last call

    def prepare(self, step: int) -> None:
        """Build the job, restore the checkpoint, and measure each task's own time if that can be done."""
        super().prepare(step)
        # A GPU's work is only queued when its operation is over, so that its clock would tell nothing.
        self._measures = len(self._workers) > 1 and not tf.config.list_logical_devices("GPU")
        if self._measures:
            self.job.collective_time.measure(self._replicas)

    def _advance(self, target: int) -> tuple[bool, bool]:
        if self._iterator is None:
            self._open_data()
        count = min(self._length.steps, target - self.step)
        began = time.monotonic()
        figures, sums = self._call(self._iterator, tf.constant(count), self._contribution(self.step + count))
        # Summed over all tasks: each decides the same after the same step, although their clocks differ.
        save, stop, microseconds, *times = sums.numpy()
        seconds = time.monotonic() - began
        waited = self.job.collective_time.take()
        # The first call traces the step; a call in which no wait was measured says nothing either.
        measured = waited and self._first_call
        self._own_time = max(0.0, seconds - waited) / count if measured else 0.0
        self._choose_length(microseconds / self.strategy.num_replicas_in_sync / 1e6)
        self._last_count, self._last_time = count, seconds if self._first_call else 0.0
        self._reached(self.step + count, by_name(figures, "train_step"), self._step_times(times))
        return bool(save or stop), bool(stop)

    def _choose_length(self, seconds: float) -> None:
        """Choose the steps of the next call from the seconds of the last but one, on which all tasks agree."""
        if seconds:
            self._length.took(self._last_count, seconds)

    def _contribution(self, step: int) -> tf.Tensor:
        """Return what this task adds to the sums of a call.

        A checkpoint is due; it is to stop; the microseconds of its last call, whole ones, so that their sum is the
        same in whatever order it is made; its own step time.
        """
        times = [0.0] * len(self._workers)
        if self._measures:
            times[self._index] = self._own_time / self._replicas
        microseconds = round(self._last_time * 1e6)
        return tf.constant([self.checkpoints.due(step), self._stop.asked, microseconds, *times], tf.float64)

    def _open_data(self) -> None:
        """Make the iterator, and skip the batches of the steps that were made before the checkpoint."""
        self._iterator = iter(self.strategy.distribute_datasets_from_function(self._shares))
        self.pulse.watch(self.step, self.job.steps)
        if self.step:
            self._skip(self._iterator, tf.constant(self.step))

    def _draws(self, iterator: Any, count: tf.Tensor) -> None:
        for _ in tf.range(count):
            self.pulse.draw(iterator)

    def _step_times(self, times: Sequence[float]) -> Mapping[str, float]:
        return {name: float(seconds) for name, seconds in zip(self._workers, times, strict=True) if seconds}

    def _shares(self, context: tf.distribute.InputContext) -> tf.data.Dataset:
        """Return one pipeline's dataset: what its replicas take in turn."""
        local = self.strategy.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * local
        shards = [Shard(first + i, self.strategy.num_replicas_in_sync) for i in range(local)]
        return in_turn([self.job.dataset(shard) for shard in shards])

    def _steps(self, iterator: Any, count: tf.Tensor, contribution: tf.Tensor) -> tuple[Any, tf.Tensor]:
        figures = self.strategy.run(self._step, args=(self.pulse.draw(iterator),))
        for _ in tf.range(count - 1):
            figures = self.strategy.run(self._step, args=(self.pulse.draw(iterator),))
        contribution = self.strategy.run(tf.identity, args=(contribution,))
        return tf.nest.map_structure(self._sum, figures), self._sum(contribution)

    def _step(self, batch: Any) -> Any:
        figures: Any = self.job.train_step(batch)
        return {} if figures is None else figures  # a graph's loop has no None

    def _sum(self, share: Any) -> tf.Tensor:
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, share, axis=None)
