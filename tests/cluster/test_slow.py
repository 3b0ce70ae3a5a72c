"""A worker that is slower than its peers is named while the training goes on."""

from __future__ import annotations

import pytest

from tests.support.workplace import Workplace

pytestmark = pytest.mark.usefixtures("warm")

# Each step of the second worker waits 20 ms for its data, which prefetching cannot hide.
SLOW = """
import time
import numpy as np
import tensorflow as tf
from jobs.linear_regression.job import LinearRegression

def wait():
    time.sleep(0.02)
    return np.int64(0)

def late(x, y):
    with tf.control_dependencies([tf.numpy_function(wait, [], tf.int64)]):
        return tf.identity(x), tf.identity(y)

class Slow(LinearRegression):
    def dataset(self, shard):
        batches = super().dataset(shard)
        return batches.map(late) if self.context.task.index == 1 else batches
"""


def test_a_slow_worker_is_named_once_and_the_run_goes_on(workplace: Workplace) -> None:
    (workplace.directory / "slow.py").write_text(SLOW)
    args = {"epochs": 16, "report_every": 2, "steps_per_call": 20}
    ran = workplace.run(job="slow.py", args=args, run={"stall_timeout": "10s"})
    assert ran.code == 0, ran.output
    said = [line for line in ran.output.splitlines() if " is a straggler: " in line]
    assert len(said) == 1
    assert said[0].startswith("worker:1 is a straggler: its own part of a step takes")
    assert [event["cause"] for event in ran.events("slow")] == said
