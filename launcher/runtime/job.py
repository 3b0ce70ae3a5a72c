"""Job: training code that does not know which strategy runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import tensorflow as tf

from launcher.contract.context import TaskContext
from launcher.rundir import RunFiles
from launcher.runtime.training.collective_time import CollectiveTime

__all__ = ["History", "Job", "Metrics", "RunFiles", "Shard"]

# The figures of one step or one evaluation: name → scalar or vector.
Metrics = Mapping[str, Any]
# Every report of a run so far, oldest first: step, epoch, seconds, and the job's own figures.
History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Shard:
    """One replica's share of every global batch: ``index`` of ``count`` equal parts.

    ``deterministic`` is False under ParameterServerStrategy, because all workers run one and the same dataset graph: a
    fixed seed there would make every worker draw the same mini-batches.
    """

    index: int = 0
    count: int = 1
    deterministic: bool = True

    def rows(self, batch: int) -> slice:
        """Return the rows of a global batch that are this replica's: 17 rows over three are 6, 6 and 5."""
        size, larger = divmod(batch, self.count)
        start = self.index * size + min(self.index, larger)
        return slice(start, start + size + (self.index < larger))


@dataclass(frozen=True)
class NoArgs:
    """The settings of a job that has none."""


class Job(tf.Module):
    """One training job: model, data and one step; the same class runs under every strategy.

    A subclass sets ``steps`` (in all) in ``build``, and may set ``steps_per_epoch`` (for the reports),
    ``steps_per_call`` (steps per dispatch) and ``report_every`` (steps between two evaluations; 0: at the end only).
    """

    Config: ClassVar[type[Any]] = NoArgs
    steps: int = 0
    steps_per_epoch: int = 0
    steps_per_call: int = 100
    report_every: int = 0

    def __init__(self, config: Any, context: TaskContext) -> None:
        super().__init__(name="job")
        self.config = config
        self.context = context
        self.collective_time = CollectiveTime()

    @property
    def directory(self) -> Path:
        """The directory that relative paths of the cluster file start from."""
        return Path(self.context.directory)

    def build(self) -> None:
        """Make variables, model and optimizer; runs inside ``strategy.scope()``."""

    def dataset(self, shard: Shard) -> tf.data.Dataset:
        """Return this replica's share of every global batch, endless, from the first step on."""
        raise NotImplementedError(f"{type(self).__name__} trains {self.steps} steps and has no dataset()")

    def train_step(self, batch: Any) -> Metrics:
        """Train one step on one replica and return its share of the figures: the Trainer adds the shares up.

        It is the only method that applies gradients.
        """
        raise NotImplementedError(f"{type(self).__name__} trains {self.steps} steps and has no train_step()")

    def evaluate(self) -> Metrics:
        """Return the figures of the model as it is; in sync mode every training task calls it at the same step."""
        return {}

    def describe(self, report: Mapping[str, Any]) -> str:
        """Return the line that is printed for a report; empty for none."""
        own = {name: value for name, value in report.items() if name != "time" and isinstance(value, float)}
        figures = "  ".join(f"{name}={value:.6g}" for name, value in own.items())
        return f"step {report['step']}/{self.steps}  {figures}"

    def report(self, run: RunFiles, history: History) -> None:
        """Write what people look at (pictures, exports, a summary); runs once, on the leader, when training is done."""

    def sum_over_replicas(self, tensors: Any) -> Any:
        """Return a structure of tensors, summed over all replicas of a synchronous step; for use in ``train_step``."""
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            return tensors
        # all_reduce asks each tensor for its device, and one that comes straight from a dataset has none
        # (distribute/cross_device_ops.py:81, "destinations can not be empty").
        tensors = tf.nest.map_structure(tf.identity, tensors)
        return self.collective_time.around(tensors, partial(context.all_reduce, tf.distribute.ReduceOp.SUM))
