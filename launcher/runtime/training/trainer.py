"""Trainer: runs a Job's steps, many to a dispatch, and reports, checkpoints and stops between dispatches."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from functools import partial
from types import FrameType
from typing import Any

import tensorflow as tf

from launcher.contract.context import TaskContext
from launcher.errors import UsageError
from launcher.runtime.checkpoint.checkpoints import Checkpoints
from launcher.runtime.job import Job, Shard
from launcher.runtime.metrics import Reporter, plain

_POLL = 0.02  # seconds between two looks at asynchronous progress
_FINISH = 12.0  # seconds that scheduled calls get to finish once the task was asked to stop
_ROUNDS = 10  # calls of each asynchronous worker after which the coordinator looks whether a checkpoint is due
_BATCH = 5.0  # seconds that those calls may take: whoever is asked to stop has to finish them


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
        self,
        job: Job,
        strategy: tf.distribute.Strategy,
        context: TaskContext,
        reporter: Reporter,
        step: int,
        stop: Stop,
    ) -> None:
        """``step`` is that of the checkpoint to resume from; 0: begin anew."""
        self.job, self.strategy, self.reporter = job, strategy, reporter
        self._speaks = context.is_leader
        with strategy.scope():
            job.build()
        if step > job.steps:
            raise UsageError(
                f"the run is at step {step}, and the job's args now end at step {job.steps}: let them reach "
                "further, or start a new run"
            )
        self.checkpoints = Checkpoints(context, job)
        self.repeated = self.checkpoints.restore(step)  # updates that may have been applied twice
        self.step = step
        self.reporter.resume_at(step)
        self._evaluated: Mapping[str, Any] = {}  # the figures of the present step, if it was evaluated
        self._stop = stop
        self._first_call: tuple[float, int] | None = None  # when the first call was over, and its step
        self._began = self._last_call = time.monotonic(), self.step

    def train(self) -> Mapping[str, Any] | None:
        """Train to the last step and return the final figures; None where the task was asked to stop before."""
        if self.step:
            self._print(f"resumed at step {self.step} of {self.job.steps}")
        while self.step < self.job.steps:
            save, stop = self._advance(self._next_stop())
            if save:
                self.checkpoints.save(self.step, self.repeated)
            if stop:
                return None
        if self.job.steps:
            self.checkpoints.save(self.step, self.repeated)
        return self._evaluated or plain(self.job.evaluate())

    def steps_per_second(self) -> float:
        """Return the speed of training, without the first call, which traces the step (unless it was the only one)."""
        ended, last = self._last_call
        at, step = self._first_call if self._first_call and self._first_call[1] < last else self._began
        return (last - step) / max(ended - at, 1e-9)

    @property
    def updates(self) -> Mapping[str, int] | None:
        """How often the model was updated, where that is not once for each step."""
        return None

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

    def _reached(self, step: int, figures: Mapping[str, Any], pace: Mapping[str, float]) -> None:
        """Report the step that was reached, with an evaluation where the job asks for one.

        ``pace`` has each worker's own seconds per step, as far as they are known.
        """
        self.step = step
        self._last_call = time.monotonic(), step
        self._first_call = self._first_call or self._last_call
        evaluates = step == self.job.steps or (self.job.report_every and step % self.job.report_every == 0)
        self._evaluated = plain(self.job.evaluate()) if evaluates else {}
        record = self.reporter.report(self.job, step, {**figures, **self._evaluated}, pace)
        if evaluates:
            self._print(self.job.describe(record))

    def _print(self, line: str) -> None:
        if line and self._speaks:
            print(line, flush=True)


class SyncTrainer(Trainer):
    """Every training task runs the same steps together; each replica has its share of the global batch."""

    def __init__(self, job: Job, strategy: tf.distribute.Strategy, context: TaskContext, *more: Any) -> None:
        super().__init__(job, strategy, context, *more)
        self._iterator: Any = None
        self._call = tf.function(self._steps)
        self._workers = list(map(str, context.members))
        self._index = self._workers.index(str(context.task)) if context.members else 0
        self._replicas = strategy.num_replicas_in_sync // max(1, len(self._workers))  # of this task
        # A GPU's work is only queued when its operation is over, so its clock would tell nothing.
        self._measures = len(self._workers) > 1 and not tf.config.list_logical_devices("GPU")
        if self._measures:
            job.waiting.measure(self._replicas)
        self._own = 0.0  # seconds per step that this task spent on its own part of the last call

    def _advance(self, target: int) -> tuple[bool, bool]:
        if self._iterator is None:
            self._iterator = iter(self.strategy.distribute_datasets_from_function(self._shares))
        count = min(self.job.steps_per_call, target - self.step)
        began = time.monotonic()
        figures, told = self._call(self._iterator, tf.constant(count), self._telling(self.step + count))
        # Summed over all tasks: each takes the same decision after the same step, whatever its own clock says.
        save, stop, *own = told.numpy()
        waited = self.job.waiting.take()
        # The first call traces the step; those where nobody said how long it waited tell nothing either.
        self._own = max(0.0, time.monotonic() - began - waited) / count if waited and self._first_call else 0.0
        self._reached(self.step + count, plain(figures), self._pace(own))
        return bool(save or stop), bool(stop)

    def _telling(self, step: int) -> tf.Tensor:
        """Return what this task tells the others in a call: a checkpoint is due, it is to stop, and its last pace."""
        own = [0.0] * len(self._workers)
        if self._measures:
            own[self._index] = self._own / self._replicas
        return tf.constant([self.checkpoints.due(step), self._stop.asked, *own], tf.float64)

    def _pace(self, own: Sequence[float]) -> Mapping[str, float]:
        return {name: float(seconds) for name, seconds in zip(self._workers, own, strict=True) if seconds}

    def _shares(self, context: tf.distribute.InputContext) -> tf.data.Dataset:
        """Return one pipeline's dataset: what its replicas take in turn."""
        local = self.strategy.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * local
        shards = [Shard(first + i, self.strategy.num_replicas_in_sync) for i in range(local)]
        return _in_turn([self.job.dataset(shard).skip(self.step) for shard in shards])

    def _steps(self, iterator: Any, count: tf.Tensor, telling: tf.Tensor) -> tuple[Any, tf.Tensor]:
        figures = self.strategy.run(self.job.train_step, args=(next(iterator),))
        for _ in tf.range(count - 1):
            figures = self.strategy.run(self.job.train_step, args=(next(iterator),))
        telling = self.strategy.run(tf.identity, args=(telling,))
        return tf.nest.map_structure(self._sum, figures), self._sum(telling)

    def _sum(self, share: Any) -> tf.Tensor:
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, share, axis=None)


class AsyncTrainer(Trainer):
    """The coordinator schedules calls; every worker draws its own batches and updates the ps without waiting."""

    def __init__(self, job: Job, strategy: tf.distribute.Strategy, context: TaskContext, *more: Any) -> None:
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
        super().__init__(job, strategy, context, *more)
        self._workers = [str(task) for task in context.members if task.job == "worker"]
        with strategy.scope():
            # Steps by worker, of the calls that were begun and of those that came to their end. A call whose worker
            # dies is made again, however far it came (coordinator/cluster_coordinator.py, "at-least-once").
            self._counts = tf.Variable(tf.zeros([2, len(self._workers)], tf.int64), trainable=False)
        self._base = self.step, self.repeated
        self._told = self.step
        self._busy: Sequence[str] = ()  # workers that were in the middle of a call
        self._lost = [0] * len(self._workers)  # steps by worker of calls that will never come to their end
        self._reported: tuple[float, Sequence[int]] = time.monotonic(), [0] * len(self._workers)  # and steps until then
        self._iterator: Any = None
        self._call = tf.function(self._steps)
        self._batch = len(self._workers) * job.steps_per_call  # steps that are scheduled at once

    def _advance(self, target: int) -> tuple[bool, bool]:
        if self._iterator is None:
            dataset = self._coordinator.create_per_worker_dataset(self._draws)
            self._iterator = iter(dataset)
        target, began = min(target, self.step + self._batch), time.monotonic()
        for count in self._shares(target - self.step):
            self._coordinator.schedule(self._call, args=(self._iterator, tf.constant(count)))
        while not self._coordinator.done():
            if self._stop.asked_for(_FINISH):
                return False, True  # the last checkpoint is what stays
            self._tell_progress()
            time.sleep(_POLL)
        self._coordinator.join()
        self._fit(target - self.step, time.monotonic() - began)
        begun, ended = self._counts.numpy().tolist()
        step, repeated = self._base
        self.repeated = repeated + sum(begun) - (target - step)
        self._lost = [first - last for first, last in zip(begun, ended, strict=True)]
        self._reached(target, {}, self._pace(ended))
        stop = self._stop.asked
        return stop or self.checkpoints.due(target), stop

    def _fit(self, steps: int, seconds: float) -> None:
        """Choose how many steps to schedule next, where so many took so long."""
        workers = len(self._workers)
        self._batch = min(max(workers, int(steps * _BATCH / seconds)), _ROUNDS * workers * self.job.steps_per_call)

    @property
    def updates(self) -> Mapping[str, int]:
        """How many updates were applied, and how many of them perhaps twice."""
        return {"applied": self.step, "maybe_twice": self.repeated}

    def _pace(self, ended: Sequence[int]) -> Mapping[str, float]:
        (then, before), self._reported = self._reported, (time.monotonic(), ended)
        made = [(name, steps - old) for name, steps, old in zip(self._workers, ended, before, strict=True)]
        return {name: (self._reported[0] - then) / steps for name, steps in made if steps}

    def _draws(self) -> Any:
        """Return what one worker draws: its own batches, of which each of its devices has a share."""
        replicas = self.strategy.num_replicas_in_sync  # of one worker (distribute/parameter_server_strategy_v2.py:646)
        shares = [partial(self.job.dataset, Shard(i, replicas, deterministic=False)) for i in range(replicas)]
        if replicas == 1:
            return shares[0]()
        return self.strategy.distribute_datasets_from_function(lambda _: _in_turn([share() for share in shares]))

    def _shares(self, steps: int) -> list[int]:
        """Split the steps into calls, equally many for each worker, none longer than ``steps_per_call``."""
        rounds = -(-steps // (len(self._workers) * self.job.steps_per_call))
        calls = min(steps, rounds * len(self._workers))
        size, larger = divmod(steps, calls)
        return [size + (i < larger) for i in range(calls)]

    def _tell_progress(self) -> None:
        begun, ended = self._counts.numpy()
        if (applied := self._base[0] + int(ended.sum())) > self._told:
            self._told = applied
            self.reporter.tell("progress", step=applied, steps=self.job.steps, figures={})
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
        for _ in tf.range(count):
            self.strategy.run(self.job.train_step, args=(next(iterator),))
            made += 1
        self._count(1, made)

    def _count(self, row: int, count: tf.Tensor) -> tf.Operation:
        worker = tf.distribute.coordinator.experimental_get_current_worker_index()
        one = tf.one_hot([row * len(self._workers) + worker], 2 * len(self._workers), dtype=tf.int64)
        return self._counts.assign_add(tf.reshape(one * tf.cast(count, tf.int64), self._counts.shape), read_value=False)


def _in_turn(datasets: Sequence[tf.data.Dataset]) -> tf.data.Dataset:
    """Return one pipeline's dataset, from which its replicas take in turn."""
    turns = tf.data.Dataset.range(len(datasets)).repeat()
    dataset = datasets[0] if len(datasets) == 1 else tf.data.Dataset.choose_from_datasets(datasets, turns)
    # Without this TensorFlow asks all workers before each step who has data left (distribute/input_lib.py:1906).
    return dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
