"""How long the replicas of a task wait for those of other tasks, which tells a straggler from the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


class CollectiveTime:
    """The seconds that were spent in sums over all replicas. Does nothing before ``measure``."""

    def __init__(self) -> None:
        self._seconds: tf.Variable | None = None
        self._replicas = 1

    def measure(self, replicas: int) -> None:
        """Measure from now on, for this number of replicas of this task; call it before the step is traced."""
        self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._replicas = replicas

    def around(self, tensors: Any, add_up: Callable[[Any], Any]) -> Any:
        """Return what ``add_up`` returns for the tensors; runs in a traced step."""
        if self._seconds is None:
            return add_up(tensors)
        with tf.control_dependencies(tf.nest.flatten(tensors)):
            began = tf.timestamp()
        with tf.control_dependencies([began]):
            summed = add_up(tf.nest.map_structure(tf.identity, tensors))
        with tf.control_dependencies(tf.nest.flatten(summed)):
            ended = tf.timestamp()
        self._seconds.assign_add((ended - began) / self._replicas)
        return summed

    def take(self) -> float:
        """Return the seconds since the last call of this method."""
        if self._seconds is None:
            return 0.0
        seconds = float(self._seconds.numpy())
        self._seconds.assign(0.0)
        return seconds
