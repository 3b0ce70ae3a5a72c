"""Where no step is made for run.stall_timeout: whom the others wait for, and what every thread was doing."""

from __future__ import annotations

import pytest

from tests.support.workplace import Workplace

ARGS = {"epochs": 40, "report_every": 5}
SLEEPS = """
import time
import tensorflow as tf
from jobs.linear_regression.job import LinearRegression

class Stuck(LinearRegression):
    def evaluate(self):
        if self.context.task.index == 1 and "{how}" == "compute":
            self.compute()
        return super().evaluate()

    def dataset(self, shard):
        batches = super().dataset(shard)
        if self.context.task.index != 1 or "{how}" != "numbers":
            return batches
        ticks = tf.data.Dataset.from_generator(self.numbers, output_signature=tf.TensorSpec([], tf.int64))
        return tf.data.Dataset.zip(batches, ticks).map(lambda batch, tick: batch)

    def numbers(self):
        yield from range(200)
        time.sleep(600)

    def compute(self):
        tf.function(lambda: tf.while_loop(lambda i: i >= 0, lambda i: [tf.math.abs(i)], [tf.constant(0)]))()
"""

# The second worker never comes to the end of its step. In async mode only the coordinator has the job's code.
LOOPS = """
import tensorflow as tf
from jobs.linear_regression.job import LinearRegression

class Loops(LinearRegression):
    def train_step(self, batch):
        worker = tf.distribute.coordinator.experimental_get_current_worker_index()
        (turned,) = tf.while_loop(lambda i: i >= 0, lambda i: [tf.math.abs(i)], [worker - 1])
        with tf.control_dependencies([turned]):
            return super().train_step(batch)
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("compute", "worker:1 has been in evaluate for 12 s (run.timeouts.evaluate)"),
        ("numbers", "worker:1 failed: no step for 12 s (run.stall_timeout): "),
    ],
)
def test_where_nothing_moves_the_stacks_of_all_are_in_their_logs_and_the_culprit_is_named(
    workplace: Workplace, how: str, said: str
) -> None:
    (workplace.directory / "stuck.py").write_text(SLEEPS.format(how=how))
    run = {"stall_timeout": "12s", "timeouts": {"evaluate": "12s"}, "restarts": 0, "start_timeout": "60s"}
    ran = workplace.run(job="stuck.py", args=ARGS, run=run)
    assert ran.code == 1, ran.output
    assert ran.result["cause"]["task"] == "worker:1"
    assert said in ran.output
    for task in ("worker-0", "worker-1"):
        log = (ran.files / f"logs/attempt-1/{task}.log").read_text()
        assert "(most recent call first):" in log
        assert "trainer.py" in log
    assert f"in {how}" in (ran.files / "logs/attempt-1/worker-1.log").read_text()
    assert "most recent call first" not in ran.output


def test_an_asynchronous_worker_that_never_ends_its_call_is_named(workplace: Workplace) -> None:
    (workplace.directory / "loops.py").write_text(LOOPS)
    run = {"stall_timeout": "10s", "restarts": 0}
    ran = workplace.run(mode="async", job="loops.py", args=ARGS, cluster={"worker": 2, "ps": 1}, run=run)
    assert ran.code == 1, ran.output
    assert ran.result["cause"]["task"] == "worker:1"
    assert "worker:1 has not finished its current steps" in ran.result["cause"]["error"]
