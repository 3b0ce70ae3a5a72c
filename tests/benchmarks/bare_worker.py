"""One worker of the regression as it is written by hand: TF_CONFIG, MultiWorkerMirroredStrategy, and nothing else.

Prints a JSON object: when its first call was over (seconds of the wall clock) and its steps per second after that.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

STEPS, CALL = int(sys.argv[1]), 170
TRAIN = Path(__file__).parents[2] / "jobs" / "linear_regression" / "train.csv"

if os.environ.get("CORE"):
    os.sched_setaffinity(0, {int(os.environ["CORE"])})
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    weights = tf.Variable([0.3, 0.8], dtype=tf.float64, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
rows = np.loadtxt(TRAIN, delimiter=",", skiprows=1)
share = slice(0, 9) if index == 0 else slice(9, 17)
x, y = np.column_stack([rows[share, 0], np.ones(len(rows[share]))]), rows[share, 1]


def train_step(batch: tuple[tf.Tensor, tf.Tensor]) -> None:
    """Take one step of gradient descent on the whole batch."""
    features, target = batch
    with tf.GradientTape() as tape:
        cost = tf.reduce_sum(tf.square(tf.linalg.matvec(features, weights) - target)) / (2 * 17)
    gradient = tf.distribute.get_replica_context().all_reduce("SUM", tape.gradient(cost, weights))
    weights.assign_sub(0.01 * gradient)


@tf.function
def call(iterator: Iterator[tuple[tf.Tensor, tf.Tensor]]) -> None:
    """Take CALL steps in one dispatch."""
    for _ in tf.range(CALL):
        strategy.run(train_step, args=(next(iterator),))


dataset = strategy.distribute_datasets_from_function(lambda _: tf.data.Dataset.from_tensors((x, y)).repeat())
batches = iter(dataset)
call(batches)
first, began = time.time(), time.monotonic()
for _ in range(STEPS // CALL - 1):
    call(batches)
print(json.dumps({"first": first, "steps_per_s": (STEPS - CALL) / (time.monotonic() - began)}), flush=True)
time.sleep(0.5)  # the other worker may still be in the last step
os._exit(0)
