"""A figure or a weight that is NaN or infinite: which ones end the training, with what sentence, and what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from launcher.contract.context import CheckpointPolicy
from launcher.errors import LauncherError
from launcher.runtime.job import Job, Metrics, Shard
from launcher.runtime.reporter import Reporter
from launcher.runtime.training.finite import refuse_figures, refuse_weights
from launcher.runtime.training.stop import Stop
from launcher.runtime.training.sync import SyncTrainer
from tests.unit.runtime.conftest import task_context

NAN, INF = float("nan"), float("inf")


class Poisoned(Job):
    """Its cost, its weight and its evaluation are numbers of the settings from step 3 on."""

    steps, steps_per_call = 4, 1

    def build(self) -> None:
        self.seen = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best = tf.Variable(INF, trainable=False)  # none is known yet
        self.weight = tf.Variable(1.0, name="weight")

    def dataset(self, shard: Shard) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors(0).repeat()

    def train_step(self, batch: Any) -> Metrics:
        self.seen.assign_add(1)
        self.weight.assign(self._number("weight"))
        return {"cost": self._number("cost")}

    def _number(self, name: str) -> tf.Tensor:
        return tf.where(self.seen < 3, 0.5, tf.constant(self.config.get(name, 0.5)))

    def evaluate(self) -> Metrics:
        return {"accuracy": self._number("accuracy")}


def trainer(directory: Path, numbers: dict[str, float], nan: str = "stop") -> SyncTrainer:
    policy = CheckpointPolicy(every_seconds=None, every_steps=1)
    context = task_context(directory=directory, checkpoint=policy, nan=nan)
    job, one_device = Poisoned(numbers, context), tf.distribute.OneDeviceStrategy("/cpu:0")
    there = SyncTrainer(job, one_device, context, Reporter(context), Stop())
    there.prepare(0)
    return there


def saved(trainer: SyncTrainer) -> list[int]:
    return [there.step for there in trainer.checkpoints.files.saved()]


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"cost": NAN}, "cost is NaN at step 7: "),
        ({"cost": -INF}, "cost is infinite at step 7: "),
        ({"fine": 1.0, "cost": np.float32(NAN)}, "cost is NaN"),
        ({"cost": tf.constant(NAN, tf.bfloat16)}, "cost is NaN"),
        ({"cost": tf.Variable(INF)}, "cost is infinite"),
        ({"weights": [1.0, [2.0, NAN]]}, r"weights\[1\]\[1\] is NaN"),
        ({"weights": np.array([[0.0, INF]])}, r"weights\[0\]\[1\] is infinite"),
        ({"losses": {"total": tf.constant([1.0, NAN])}}, r"losses\.total\[1\] is NaN"),
        ({"pair": (1.0, NAN)}, r"pair\[1\] is NaN"),
    ],
)
def test_a_figure_that_is_not_finite_is_named_with_its_step(figures: Metrics, said: str) -> None:
    with pytest.raises(LauncherError, match=f"^{said}") as caught:
        refuse_figures(figures, 7)
    assert str(caught.value).endswith("write run.nan: ignore")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("figures", [{}, {"n": 3, "done": True, "name": "nan", "none": None, "x": [1.0, 1e308]}])
def test_any_other_figure_is_accepted(figures: Metrics) -> None:
    refuse_figures(figures, 7)


class Gate(tf.Module):
    """What a user may call like the methods of a variable."""

    trainable = True

    def assign(self) -> None:
        """Assign nothing."""


class Layers(Job):
    """One variable wherever a job may keep one."""

    def build(self) -> None:
        self.listed, self.named = [tf.Variable(1.0, name="listed")], {"a": tf.Variable(1.0, name="named")}
        self.half = tf.Variable(1.0, dtype=tf.bfloat16, name="half")
        self.count = tf.Variable(1, name="count")
        self.gate = Gate()
        import keras

        self.model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="dense")])


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (lambda job: job.listed[0], "listed"),
        (lambda job: job.named["a"], "named"),
        (lambda job: job.half, "half"),
        (lambda job: job.model.layers[0].kernel, "kernel"),
    ],
)
@pytest.mark.parametrize("number", [NAN, INF])
def test_a_weight_that_is_not_finite_is_found_wherever_a_job_keeps_it(place: Any, name: str, number: float) -> None:
    job = Layers({}, task_context())
    job.build()
    refuse_weights(job, 7)
    weight = place(job)
    weight.assign(tf.fill(weight.shape, tf.cast(number, weight.dtype)))
    with pytest.raises(LauncherError, match=rf"^the variable \S*{name} has values that are NaN or infinite at step 7"):
        refuse_weights(job, 7)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"cost": NAN}, "cost is NaN at step 3"),
        ({"cost": INF}, "cost is infinite at step 3"),
        ({"weight": NAN}, "the variable weight has values that are NaN or infinite at step 3"),
    ],
)
def test_training_ends_before_the_checkpoint_that_is_due_and_the_good_one_stays(
    tmp_path: Path, numbers: dict[str, float], said: str
) -> None:
    there = trainer(tmp_path, numbers)
    with pytest.raises(LauncherError, match=f"^{said}"):
        there.train()
    assert saved(there) == [1, 2]
    last = there.reporter.history[-1]
    assert (last["step"], last["cost"]) == (3, None if "cost" in numbers else 0.5)  # what was wrong can be looked up


def test_an_evaluation_ends_the_training_like_a_step_also_one_after_the_last_step(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=r"^accuracy is NaN at step 4"):
        trainer(tmp_path, {"accuracy": NAN}).train()
    again = trainer(tmp_path, {"accuracy": NAN}, nan="ignore")
    assert again.train() == {"accuracy": None}
    over = trainer(tmp_path, {"accuracy": NAN})
    over.prepare(4)
    with pytest.raises(LauncherError, match=r"^accuracy is NaN at step 4"):
        over.train()


def test_a_run_that_ignores_them_trains_and_saves_to_the_end(tmp_path: Path) -> None:
    there = trainer(tmp_path, {"cost": NAN, "weight": INF, "accuracy": INF}, nan="ignore")
    assert there.train() == {"accuracy": None}
    assert saved(there)[-1] == 4
