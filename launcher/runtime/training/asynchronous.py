"""Asynchronous training: a coordinator schedules calls, and every worker updates the ps without waiting."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from launcher.contract.context import TaskContext
from launcher.contract.phases import Phase
from launcher.runtime.job import Job, Shard
from launcher.runtime.training.trainer import Trainer, in_turn

_POLL = 0.02  # seconds between two checks of the progress
_FINISH = 2 / 3  # of the time until a task that was asked to stop is killed, for scheduled calls to finish
_ROUNDS = 10  # calls of each worker after which the coordinator looks whether a checkpoint is due
_PARTS = 10  # after each of which a call tells that it moves: a step more often would cost a trip to the ps
_BATCH = 5.0  # seconds that those calls may take, at most: a task that is asked to stop has to finish them


class AsyncTrainer(Trainer):
    """The coordinator schedules calls; every worker draws its own batches and updates the ps without waiting."""

    def __init__(self, job: Job, strategy: tf.distribute.Strategy, context: TaskContext, *more: Any) -> None:
        super().__init__(job, strategy, context, *more)
        self._workers = [str(task) for task in context.members if task.job == "worker"]
        self._finish = _FINISH * context.save_within
        self._call = tf.function(self._steps)
        self._coordinator: Any = None
        self._iterator: Any = None
        self._counts: Any = None
        self._base = self._progress = self._made = 0
        self._repeated_before = 0  # updates that may have been applied twice before this attempt
        self._busy: Sequence[str] = ()  # workers in the middle of a call
        self._lost = [0] * len(self._workers)  # steps by worker of calls that will never end
        self._reported: tuple[float, Sequence[int]] = time.monotonic(), [0] * len(self._workers)  # and steps until then
        self._batch = 0  # steps that are scheduled at once

    def prepare(self, step: int) -> None:
        """Connect to the workers and ps, build the job, and restore the checkpoint."""
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(self.strategy)
        super().prepare(step)
        with self.strategy.scope():
            # Steps by worker, of the calls that were begun, of those that have ended, and those made in either, which
            # only tells that they move. A call whose worker dies is made again, however far it came
            # (coordinator/cluster_coordinator.py, "at-least-once").
            self._counts = tf.Variable(tf.zeros([3, len(self._workers)], tf.int64), trainable=False)
        self._base, self._progress, self._repeated_before = step, step, self.repeated
        self._reported = time.monotonic(), self._reported[1]
        self._batch = len(self._workers) * self._length.steps

    def _advance(self, target: int) -> tuple[bool, bool]:
        if self._iterator is None:
            self._iterator = iter(self._coordinator.create_per_worker_dataset(self._draws))
        target, began = min(target, self.step + self._batch), time.monotonic()
        for count in self._calls(target - self.step):
            self._coordinator.schedule(self._call, args=(self._iterator, tf.constant(count)))
        while not self._coordinator.done():
            if self._stop.asked_for(self._finish):
                return False, True  # the last checkpoint is what stays
            self._tell_progress()
            time.sleep(_POLL)
        self._coordinator.join()
        self._set_batch(target - self.step, time.monotonic() - began)
        begun, ended, _ = self._counts.numpy().tolist()
        self.repeated = self._repeated_before + sum(begun) - (target - self._base)
        self._lost = [first - last for first, last in zip(begun, ended, strict=True)]
        self._reached(target, {}, self._step_times(ended))
        stop = self._stop.asked
        return stop or self.checkpoints.due(target), stop

    def _set_batch(self, steps: int, seconds: float) -> None:
        """Choose how many steps to schedule next, and in how long calls, given how long the last have taken."""
        workers = len(self._workers)
        if self._first_call:  # which traces the step
            calls = len(self._calls(steps))
            self._length.took(-(-steps // calls), seconds * workers / calls)
        self._batch = min(
            max(workers, int(steps * min(_BATCH, self._finish / 2) / seconds)), _ROUNDS * workers * self._length.steps
        )

    @property
    def updates(self) -> Mapping[str, int]:
        """How many updates were applied, and how many of them perhaps twice."""
        return {"applied": self.step, "maybe_twice": self.repeated}

    def _step_times(self, ended: Sequence[int]) -> Mapping[str, float]:
        (then, before), self._reported = self._reported, (time.monotonic(), ended)
        made = [(name, steps - old) for name, steps, old in zip(self._workers, ended, before, strict=True)]
        return {name: (self._reported[0] - then) / steps for name, steps in made if steps}

    def _draws(self) -> Any:
        """Return what one worker draws: its own batches, of which each of its devices has a share."""
        replicas = self.strategy.num_replicas_in_sync  # of one worker (distribute/parameter_server_strategy_v2.py:646)
        shares = [partial(self.job.dataset, Shard(i, replicas, deterministic=False)) for i in range(replicas)]
        if replicas == 1:
            return shares[0]()
        return self.strategy.distribute_datasets_from_function(lambda _: in_turn([share() for share in shares]))

    def _calls(self, steps: int) -> list[int]:
        """Split the steps into calls, equally many for each worker, none longer than the length of a call."""
        rounds = -(-steps // (len(self._workers) * self._length.steps))
        calls = min(steps, rounds * len(self._workers))
        size, larger = divmod(steps, calls)
        return [size + (i < larger) for i in range(calls)]

    def _tell_progress(self) -> None:
        begun, ended, made = self._counts.numpy()
        if (applied := self._base + int(ended.sum())) > self._progress:
            self._progress = applied
            self.reporter.tell("progress", step=applied, steps=self.job.steps, figures={})
        elif made.sum() > self._made:
            self.pulse.enter(Phase.TRAIN)
            self.reporter.tell("moving", phase=Phase.TRAIN)
        self._made = made.sum()
        under_way = (begun - ended - self._lost).tolist()
        busy = [name for name, steps in zip(self._workers, under_way, strict=True) if steps]
        if busy != self._busy:
            self._busy = busy
            self.reporter.tell("busy", workers=busy)

    def _steps(self, iterator: Any, count: tf.Tensor) -> None:
        begun = self._count(0, count)
        with tf.control_dependencies([begun]):
            count = tf.identity(count)
        made = tf.zeros_like(count)
        part = tf.maximum(count // _PARTS, 1)
        while made < count:
            some = tf.minimum(part, count - made)
            for _ in tf.range(some):
                self.strategy.run(self.job.train_step, args=(next(iterator),))
                made += 1
            self._count(2, some)
        self._count(1, made)

    def _count(self, row: int, count: tf.Tensor) -> tf.Operation:
        worker = tf.distribute.coordinator.experimental_get_current_worker_index()
        one = tf.one_hot([row * len(self._workers) + worker], 3 * len(self._workers), dtype=tf.int64)
        return self._counts.assign_add(tf.reshape(one * tf.cast(count, tf.int64), self._counts.shape), read_value=False)
