"""What is slow is not taken for a hang, and calls that are chosen by time train the same."""

from __future__ import annotations

import itertools

import pytest

from tests.support.workplace import Workplace

pytestmark = pytest.mark.usefixtures("warm")

# Every phase takes as many seconds as ``args`` say: a step turns round in the graph, on whichever task makes it.
PACED = """
import time
from dataclasses import dataclass
import tensorflow as tf
from launcher import Job

@dataclass(frozen=True)
class Seconds:
    steps: int = 8
    steps_per_call: int = 0
    build: float = 0.0
    batch: float = 0.0
    step: float = 0.0
    evaluate: float = 0.0

def after(seconds, value):
    began = tf.timestamp()
    (now,) = tf.while_loop(lambda now: now < began + seconds, lambda now: [tf.timestamp()], [began])
    with tf.control_dependencies([now]):
        return tf.identity(value)

class Paced(Job):
    Config = Seconds

    def build(self):
        self.steps, self.steps_per_call = self.config.steps, self.config.steps_per_call
        time.sleep(self.config.build * self.context.task.index)
        self.total = tf.Variable(0, dtype=tf.int64, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def dataset(self, shard):
        numbers = tf.data.Dataset.counter()
        return numbers.map(lambda number: after(self.config.batch, number)) if self.config.batch else numbers

    def train_step(self, number):
        number = after(self.config.step, number) if self.config.step else number
        self.total.assign_add(self.sum_over_replicas(number))
        return {}

    def evaluate(self):
        time.sleep(self.config.evaluate)
        return {"total": self.total}
"""


@pytest.fixture(autouse=True)
def paced(workplace: Workplace) -> None:
    (workplace.directory / "paced.py").write_text(PACED)


def test_a_call_and_phases_that_take_longer_than_a_step_may_do_not_end_a_run(workplace: Workplace) -> None:
    """Only one task builds slowly, and the other waits for its first step meanwhile."""
    args = {"steps_per_call": 8, "step": 1.0, "build": 7, "evaluate": 7}
    ran = workplace.run(job="paced.py", args=args, run={"stall_timeout": "6s", "restarts": 0})
    assert (ran.code, ran.metrics) == (0, {"total": 2 * sum(range(8))}), ran.output


def test_a_call_of_an_asynchronous_worker_may_take_longer_than_a_step_may(workplace: Workplace) -> None:
    args = {"steps_per_call": 8, "step": 1.0}
    cluster, run = {"worker": 1, "ps": 1}, {"stall_timeout": "6s", "restarts": 0}
    ran = workplace.run(mode="async", job="paced.py", args=args, cluster=cluster, run=run)
    assert (ran.code, ran.metrics) == (0, {"total": sum(range(8))}), ran.output


def test_batches_that_are_skipped_slowly_are_no_hang_and_none_is_trained_twice(workplace: Workplace) -> None:
    run = {"stall_timeout": "4s", "timeouts": {"data": "4s"}, "restarts": 0}
    first = workplace.run(job="paced.py", args={"steps": 400}, cluster={"worker": 1}, run=run)
    assert first.code == 0, first.output
    more = ["--set", "args.steps=410", "--set", "args.batch=0.025"]
    second = workplace.finish(workplace.start("run", "--resume", "latest", *more))
    assert (second.code, second.metrics) == (0, {"total": sum(range(410))}), second.output


def test_calls_that_are_chosen_by_time_grow_and_train_the_same_on_all_workers(workplace: Workplace) -> None:
    ran = workplace.run(job="paced.py", args={"steps": 2000})
    assert (ran.code, ran.metrics) == (0, {"total": 2 * sum(range(2000))}), ran.output
    ends = [0, *(report["step"] for report in ran.reports("worker:0"))]
    calls = [after - before for before, after in itertools.pairwise(ends)]
    assert (calls[0], ends[-1]) == (1, 2000)
    assert max(calls) > 16
