"""Where no step is made for run.stall_timeout: whom the others wait for, and what every thread was doing."""

from __future__ import annotations

import pytest

from tests.cluster.conftest import Workplace

ARGS = {"epochs": 40, "report_every": 5}
SLEEPS = """
import time
import tensorflow as tf
from jobs.linear_regression.job import LinearRegression

class Stuck(LinearRegression):
    def evaluate(self):
        if self.context.task.index == 1:
            self.{how}()
        return super().evaluate()

    def sleep(self):
        time.sleep(600)

    def compute(self):
        tf.function(lambda: tf.while_loop(lambda i: i >= 0, lambda i: [tf.math.abs(i)], [tf.constant(0)]))()
"""


@pytest.mark.parametrize("how", ["sleep", "compute"])
def test_where_nothing_moves_the_stacks_of_all_are_in_their_logs_and_the_culprit_is_named(
    workplace: Workplace, how: str
) -> None:
    (workplace.directory / "stuck.py").write_text(SLEEPS.format(how=how))
    ran = workplace.run(job="stuck.py", args=ARGS, run={"stall_timeout": "6s", "restarts": 0, "start_timeout": "60s"})
    assert ran.code == 1, ran.output
    assert ran.result["cause"]["task"] == "worker:1"
    assert "worker:1 failed: no step for 6 s (run.stall_timeout): " in ran.output
    for task in ("worker-0", "worker-1"):
        log = (ran.files / f"logs/attempt-1/{task}.log").read_text()
        assert "(most recent call first):" in log
        assert "trainer.py" in log
    assert f"in {how}" in (ran.files / "logs/attempt-1/worker-1.log").read_text()
    assert "most recent call first" not in ran.output
