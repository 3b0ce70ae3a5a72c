"""Numbers that are NaN or infinite: which figure or variable has one, at which step, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from launcher.errors import LauncherError
from launcher.runtime.figures import numbers

_TYPES = (tf.float16, tf.bfloat16, tf.float32, tf.float64)
_REMEDY = (
    "lower the learning rate, clip the gradients, or look for such numbers in the data; "
    "if the job means it, write run.nan: ignore"
)


def refuse_figures(figures: Mapping[str, Any], step: int) -> None:
    """Raise LauncherError for the first figure that is NaN or infinite."""
    for name, value in numbers(figures):
        if not math.isfinite(value):
            raise LauncherError(f"{name} is {_shown(value)} at step {step}: {_REMEDY}")


def refuse_weights(job: tf.Module, step: int) -> None:
    """Raise LauncherError for the first trainable variable that is NaN or infinite somewhere.

    Variables that are not trained, such as the best cost so far, may well begin with infinity.
    """
    # All that a checkpoint saves: tf.Module.trainable_variables leaves out what Keras' layers have.
    for node in tf.train.TrackableView(job).descendants():
        if _is_weight(node) and not bool(tf.reduce_all(tf.math.is_finite(node))):
            name = node.name.partition(":")[0]
            raise LauncherError(
                f"the variable {name} has values that are NaN or infinite at step {step}, of which no checkpoint is "
                f"written: {_REMEDY}"
            )


def _is_weight(node: Any) -> bool:
    # Keras' variables are no instances of tf.Variable, and its layers are trainable as well.
    is_variable = isinstance(node, tf.Variable) or (hasattr(node, "assign") and hasattr(node, "dtype"))
    return is_variable and bool(getattr(node, "trainable", False)) and tf.as_dtype(node.dtype) in _TYPES


def _shown(value: float) -> str:
    return "NaN" if math.isnan(value) else "infinite"
