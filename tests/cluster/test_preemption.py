"""What a scheduler's SIGTERM leaves if a step takes longer than run.grace: the newest complete checkpoint, or none."""

from __future__ import annotations

import signal
import time

from tests.support.jobs import LOOK_EVERY
from tests.support.processes import survivors
from tests.support.workplace import Ran, Workplace, read_until

# The batches from that number on, which the file hold says, do not come.
WAITING = """
import time
import numpy as np
import tensorflow as tf
from launcher import Job

class Waiting(Job):
    def build(self):
        self.steps, self.steps_per_call = 9, 1
        self.v = tf.Variable(0.0, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def dataset(self, shard):
        return tf.data.Dataset.range(9).map(lambda n: tf.numpy_function(self.wait, [n], tf.float32)).map(self.shaped)

    def wait(self, number):
        if number >= int((self.directory / "hold").read_text()):
            print("waits", flush=True)
            time.sleep(600)
        return np.float32(1)

    def shaped(self, value):
        return tf.ensure_shape(value, [])

    def train_step(self, batch):
        self.v.assign_add(self.sum_over_replicas(batch))
        return {}

    def evaluate(self):
        return {"v": self.v}
"""


def stopped_in_the_step_after(place: Workplace, step: int, *arguments: str) -> Ran:
    """Run until the step that does not end, and stop the run with a SIGTERM."""
    (place.directory / "hold").write_text(str(step))
    launcher = place.start("run", *arguments)
    seen = read_until(launcher, "worker:0 │ waits")
    while step and not (place.directory / "runs" / "latest" / "checkpoints" / f"step-{step:010d}").exists():
        time.sleep(LOOK_EVERY)
    launcher.send_signal(signal.SIGTERM)
    return place.finish(launcher, seen)


def test_a_step_that_is_longer_than_run_grace_leaves_the_newest_complete_checkpoint_which_is_named(
    workplace: Workplace,
) -> None:
    (workplace.directory / "waiting.py").write_text(WAITING)
    run = {"grace": "3s", "checkpoint": {"every": "1 steps"}}
    workplace.write(job="waiting.py", args={}, cluster={"worker": 1}, run=run)
    ran = stopped_in_the_step_after(workplace, 0)
    assert (ran.code, ran.result["status"], ran.result["steps"]) == (143, "stopped", 0), ran.output
    assert "; no checkpoint; to continue: launcher run --resume runs/test-" in ran.output
    again = stopped_in_the_step_after(workplace, 2, "--resume", "latest")
    assert (again.code, again.result["status"], again.result["steps"]) == (143, "stopped", 2), again.output
    assert "stopped at step 2 after " in again.output
    assert "; the last checkpoint is of step 2; to continue: launcher run --resume runs/test-" in again.output
    assert [event["cause"] for event in again.events("stopped")] == ["killed by SIGKILL"] * 2
    assert survivors(workplace.directory) == []
