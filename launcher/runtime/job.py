"""Job: training code that never knows which strategy runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import tensorflow as tf

from launcher.contract.context import TaskContext
from launcher.contract.history import OWN
from launcher.rundir import RunFiles
from launcher.runtime.training.collective_time import CollectiveTime

__all__ = ["History", "Job", "Metrics", "RunFiles", "Shard"]

Metrics = Mapping[str, Any]
"""The figures of one step or one evaluation: name → number, scalar tensor or vector."""

History = Sequence[Mapping[str, Any]]
"""The reports of a run so far, oldest first, each with `step`, `epoch`, `time` (seconds of the whole run), `wall_time`
(seconds since the epoch), `attempt`, `resumed_at` (the step that this attempt began with), `task` (like `worker:0`) and
the job's own figures as floats and lists; a figure that is not finite is None, and none may have one of these names."""


@dataclass(frozen=True)
class Shard:
    """One replica's share of every global batch: part ``index`` (from 0) of ``count`` parts of equal size.

    ``deterministic`` is False under ParameterServerStrategy: all workers run the same dataset graph there, and a fixed
    seed would make every worker draw the same batches.
    """

    index: int = 0
    count: int = 1
    deterministic: bool = True

    def rows(self, batch: int) -> slice:
        """Return which rows of a global batch of ``batch`` rows this replica takes: 17 rows over 3 are 6, 6 and 5."""
        size, larger = divmod(batch, self.count)
        start = self.index * size + min(self.index, larger)
        return slice(start, start + size + (self.index < larger))


@dataclass(frozen=True)
class NoArgs:
    """The settings of a job that has none."""


class Job(tf.Module):
    """One training job: model, data and one step; the same class runs under every strategy.

    ``build`` sets ``steps``, the steps of the whole training; 0 trains nothing and only evaluates, and a job that sets
    none is refused. It may set ``steps_per_epoch`` (from which reports count epochs), ``steps_per_call`` (steps of one
    dispatch to TensorFlow; 0 chooses them by time, a second) and ``report_every`` (steps between two evaluations; 0:
    only at the end).

    ``Config`` is a frozen dataclass that `args` of the cluster file is checked against; ``config`` is what was read.
    Its ``__post_init__`` raises ValueError, one problem a line, for values that are not allowed.

    ``context`` describes this task: its name, its role, the cluster. An exception of any method ends the run with exit
    code 1 and is reported as its cause.
    """

    Config: ClassVar[type[Any]] = NoArgs
    steps: int
    steps_per_epoch: int = 0
    steps_per_call: int = 0
    report_every: int = 0

    def __init__(self, config: Any, context: TaskContext) -> None:
        super().__init__(name="job")
        self.config = config
        self.context = context
        self.collective_time = CollectiveTime()

    @property
    def directory(self) -> Path:
        """The directory of the cluster file, from which its relative paths start."""
        return Path(self.context.directory)

    def build(self) -> None:
        """Create variables, model and optimizer, and set ``steps``; runs once in each task, in ``strategy.scope()``."""

    def dataset(self, shard: Shard) -> tf.data.Dataset:
        """Return a dataset without an end: element i is this replica's ``shard.rows`` of the global batch of step i.

        Elements may have any structure and shapes; ``train_step`` gets them as they are.
        """
        raise NotImplementedError(f"{type(self).__name__} trains {self.steps} steps and has no dataset()")

    def train_step(self, batch: Any) -> Metrics:
        """Train one step on one replica's share of the batch; the only method that changes variables.

        Returns this replica's share of each figure: in sync mode the shares of all replicas are added up and reported,
        in async mode they are not used. It is traced in a ``tf.function``.
        """
        raise NotImplementedError(f"{type(self).__name__} trains {self.steps} steps and has no train_step()")

    def evaluate(self) -> Metrics:
        """Return the figures of the model as it is now, by name; an evaluator calls it on each checkpoint.

        In sync mode every training task calls it at the same step.
        """
        return {}

    def describe(self, report: Mapping[str, Any]) -> str:
        """Return the line that is printed for a report, one record of a History; an empty string prints nothing."""
        own = {name: value for name, value in report.items() if name not in OWN and isinstance(value, float)}
        figures = "  ".join(f"{name}={value:.6g}" for name, value in own.items())
        return f"step {report['step']}/{self.steps}  {figures}"

    def report(self, run: RunFiles, history: History) -> None:
        """Write what people look at (pictures, a model) into ``run``; runs once, on the leader, after training."""

    def sum_over_replicas(self, tensors: Any) -> Any:
        """Return a structure of tensors summed over all replicas of a synchronous step; only for ``train_step``.

        Every replica passes the same structure, dtypes and shapes. In async mode the sum is over the devices of one
        worker.
        """
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            return tensors
        # all_reduce asks each tensor for its device, and one that comes straight from a dataset has none
        # (distribute/cross_device_ops.py:81, "destinations can not be empty").
        tensors = tf.nest.map_structure(tf.identity, tensors)
        return self.collective_time.around(tensors, partial(context.all_reduce, tf.distribute.ReduceOp.SUM))
