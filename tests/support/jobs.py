"""Jobs that tests train, and the run that most faults hit."""

from __future__ import annotations

from typing import Any

LOOK_EVERY = 0.05  # seconds
# A job of a user's own, in a script; ``evaluate`` is a line of Python.
JOB = """
import tensorflow as tf
from dataclasses import dataclass
from launcher.runtime.job import Job

@dataclass(frozen=True)
class Settings:
    rate: float = 0.5

class Mine(Job):
    Config = Settings

    def build(self):
        self.steps = 4
        self.v = tf.Variable(0.0, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def dataset(self, shard):
        return tf.data.Dataset.from_tensors(1.0).repeat()

    def train_step(self, batch):
        self.v.assign_add(self.sum_over_replicas(batch))
        return {{}}

    def evaluate(self):
        {evaluate}
"""
# The regression, but whoever trains waits at a report for as long as there is a file named hold beside it.
HOLDING = f"""
import time
from jobs.linear_regression.job import LinearRegression

class Holding(LinearRegression):
    def evaluate(self):
        while self.context.role != "evaluate" and (self.directory / "hold").exists():
            time.sleep({LOOK_EVERY})
        return super().evaluate()
"""

# Of `make run` and `make compose`: as near to the truth as cluster.yaml's own 1000 epochs, in 5,100 steps, not 17,000.
QUICK_STEPS = 300 * 17
QUICK = "ARGS='--set args.epochs=300 --set args.learning_rate=0.03'"

# Slow enough not to have converged at the end: a step too many, or one too few, shows in the last digits.
ARGS = {"epochs": 100, "report_every": 5, "learning_rate": 0.0002}
STEPS = 100 * 17
RUN = {"checkpoint": {"every": "100 steps"}}
SYNC: dict[str, Any] = {"args": ARGS, "cluster": {"worker": 2}, "run": RUN}
ASYNC: dict[str, Any] = {"mode": "async", "args": ARGS, "cluster": {"worker": 1, "ps": 1}, "run": RUN}
IN_THE_MIDDLE = "Epoch: 0020"  # step 340, with checkpoints; the other 1360 leave time for what a test does there
# A call that is made again, because its end was never heard of, is at most 85 steps: 1e-5 of W and b.
TOLERANCE = 1e-4
