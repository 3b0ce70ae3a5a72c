"""The Job: one step of gradient descent on this replica's share of the batch, and the report of a tutorial."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from jobs.linear_regression.config import Config
from jobs.linear_regression.points import FloatArray, cost, largest_learning_rate
from launcher import History, Job, Metrics, RunFiles, Shard

DIVERGED = 1e6  # times the first cost: from there no training converges any more


class LinearRegression(Job):
    """pred = W x + b, cost = Σ(pred - y)² / (2n), by plain gradient descent.

    Everything is float64: with float32 the rounding of thousands of steps, which depends on how the batch is split,
    adds up to more than 1e-6 of the weights.
    """

    Config = Config

    def build(self) -> None:
        """Load the data and create the weights, one variable of (features + 1,) whose last element is b."""
        config: Config = self.config
        self.data = config.load(self.directory)
        train = self.data.train
        self.batch = config.batch_size or len(train)
        self.steps_per_epoch = config.epoch_steps(len(train))
        self.steps = config.epochs * self.steps_per_epoch
        self.steps_per_call = config.steps_per_call
        self.report_every = config.report_every * self.steps_per_epoch
        initial = np.random.default_rng(config.seed).standard_normal(len(train.features) + 1)
        self.first_cost = cost(train, initial[:-1], initial[-1])
        # One variable instead of W and b: a step needs one round trip to the ps, not two.
        self.weights = tf.Variable(
            initial, name="weights", aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA, dtype=tf.float64
        )

    def dataset(self, shard: Shard) -> tf.data.Dataset:
        """Return this replica's rows of every global batch, as (x with a column of ones, y)."""
        train, share = self.data.train, shard.rows(self.batch)
        x = np.column_stack([train.x, np.ones(len(train))])
        if self.batch == len(train):
            return tf.data.Dataset.from_tensors((x[share], train.y[share])).repeat()
        batches = tf.data.Dataset.counter().flat_map(lambda epoch: self._batches(epoch, shard))
        x, y = tf.constant(x), tf.constant(train.y)
        return batches.map(lambda rows: (tf.gather(x, rows[share]), tf.gather(y, rows[share])))

    def _batches(self, epoch: tf.Tensor, shard: Shard) -> tf.data.Dataset:
        """Return the rows of each global batch of one epoch: (batch,) indices; an incomplete last batch is left out."""
        rows = tf.range(len(self.data.train), dtype=tf.int64)
        if self.config.shuffle:
            # From seed and epoch alone, so that every replica, and a resumed run, sees the same order.
            seed = tf.stack([tf.constant(self.config.seed, tf.int64), epoch])
            stateless = tf.random.experimental.stateless_shuffle
            rows = stateless(rows, seed) if shard.deterministic else tf.random.shuffle(rows)
        whole = len(self.data.train) // self.batch
        return tf.data.Dataset.from_tensor_slices(tf.reshape(rows[: whole * self.batch], (whole, self.batch)))

    def train_step(self, batch: Any) -> Metrics:
        """Move the weights against the gradient of the whole batch; the shares add up to it."""
        x, y = batch
        with tf.GradientTape() as tape:
            share = tf.reduce_sum(tf.square(tf.linalg.matvec(x, self.weights) - y)) / (2 * self.batch)
        gradient = self.sum_over_replicas(tape.gradient(share, self.weights))
        self.weights.assign_sub(self.config.learning_rate * gradient)
        return {"cost": share}

    def evaluate(self) -> Metrics:
        """Return W (a list if there are several features) and b in the units of the data, and the costs."""
        weights: FloatArray = self.weights.numpy()
        costs = [cost(points, weights[:-1], weights[-1]) for points in (self.data.train, self.data.test)]
        self._refuse_divergence(costs[0])
        w, b = self.data.original_units(weights[:-1], weights[-1])
        return {
            "W": w.tolist() if len(w) > 1 else float(w[0]),
            "b": b,
            "training_cost": costs[0],
            "testing_cost": costs[1],
            "absolute_difference": abs(costs[0] - costs[1]),
        }

    def _refuse_divergence(self, training_cost: float) -> None:
        converges = np.isfinite(training_cost) and training_cost <= DIVERGED * (self.first_cost + 1)
        if converges or self.context.nan == "ignore":
            return
        largest = largest_learning_rate(self.data.train)
        raise ArithmeticError(
            f"the training diverged, its cost is {training_cost:.3g}: learning_rate is {self.config.learning_rate:g}, "
            f"and on these data full-batch descent converges below {largest:.3g}; lower it, or set standardise: true"
        )

    def describe(self, report: Mapping[str, Any]) -> str:
        """Return the tutorial's line for an epoch."""
        cost_shown = _shown(report["training_cost"], 9)
        return f"Epoch: {report['epoch']:04d} cost= {cost_shown} W= {_shown(report['W'])} b= {_shown(report['b'])}"

    def report(self, run: RunFiles, history: History) -> None:
        """Print what was learned, draw the pictures and export the model."""
        # matplotlib is imported here: it takes a fifth of a task's start, and only the leader draws.
        from jobs.linear_regression import pictures

        figures = self.evaluate()
        print("Optimization Finished!")
        print(f"Training cost= {figures['training_cost']:.7f} W= {_shown(figures['W'])} b= {figures['b']:.7f}")
        print(f"Testing cost= {figures['testing_cost']:.7f}")
        print(f"Absolute difference= {figures['absolute_difference']:.7f}", flush=True)
        w, b = np.atleast_1d(figures["W"]), figures["b"]
        pictures.train_picture(run.picture("linear_train"), self.data.original_points(self.data.train), w, b)
        pictures.test_picture(run.picture("linear_test"), self.data.original_points(self.data.test), w, b)
        costs = [(record["epoch"], record["training_cost"]) for record in history if "training_cost" in record]
        pictures.cost_picture(run.picture("cost"), [(0, self.first_cost), *costs])
        _export(run.model, Predictor(w, b))


class Predictor(tf.Module):
    """The exported model: ``predict`` maps (rows, features) in the units of the data to (rows,)."""

    def __init__(self, w: FloatArray, b: float) -> None:
        super().__init__(name="linear_regression")
        self.w, self.b = tf.Variable(w, dtype=tf.float64), tf.Variable(b, dtype=tf.float64)
        self.predict = tf.function(self._predict, input_signature=[tf.TensorSpec([None, len(w)], tf.float64)])

    def _predict(self, x: tf.Tensor) -> tf.Tensor:
        return tf.linalg.matvec(x, self.w) + self.b


def _export(path: Path, model: Predictor) -> None:
    """Write the SavedModel to a temporary directory and rename that to ``path``."""
    beside = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        tf.saved_model.save(model, beside, signatures=model.predict)
        os.chmod(beside, 0o755)
        shutil.rmtree(path, ignore_errors=True)
        os.rename(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)  # of a disk that is full


def _shown(value: float | Sequence[float | None] | None, digits: int = 7) -> str:
    """Return a number, or several; a report has None for one that is not finite."""
    if isinstance(value, Sequence):
        return "[" + ", ".join(_shown(each, digits) for each in value) + "]"
    return "nan" if value is None else f"{value:.{digits}f}"
