"""Whether a task has the cores and devices that the plan gives it, checked before it computes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from launcher.contract.context import TaskContext
from launcher.errors import PlacementError
from launcher.text import counted


def check_placement(context: TaskContext) -> Mapping[str, Any]:
    """Return the cores and GPUs that this process has; PlacementError if they are not those of the plan."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else sorted(context.cores)
    if context.cores and cores != sorted(context.cores):
        raise PlacementError(f"the plan gives {context.task} the cores {_shown(context.cores)}; it has {_shown(cores)}")
    gpus = tf.config.list_physical_devices("GPU")
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")  # what TensorFlow counts from
    if len(gpus) != len(context.gpus) or (gpus and chosen != [str(gpu) for gpu in context.gpus]):
        raise PlacementError(_other_gpus(context, len(gpus)))
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "unknown") for gpu in gpus]
    return {"cores": cores, "gpus": dict(zip(map(str, context.gpus), names, strict=True))}


def check_devices(context: TaskContext) -> list[str]:
    """Return this task's logical devices; PlacementError if there are not as many to compute on as planned."""
    kind = "GPU" if context.gpus else "CPU"
    planned = len(context.gpus or (0,)) * (context.virtual_devices or 1)
    devices = [device.name for device in tf.config.list_logical_devices()]
    found = [name for name in devices if f":{kind}:" in name.upper() and _is_own(name, context)]
    if len(found) != planned:
        given = counted(planned, f"{kind} device")
        message = f"the plan gives {context.task} {given}; TensorFlow has made {len(found)}"
        raise PlacementError(f"{message}: {', '.join(found) or 'none'}")
    return devices


def _is_own(name: str, context: TaskContext) -> bool:
    """Whether a device is this task's: in a cluster TensorFlow lists those of all."""
    return "/job:" not in name or (f"/job:{context.task.job}/" in name and f"/task:{context.tensorflow_index}/" in name)


def _other_gpus(context: TaskContext, seen: int) -> str:
    given = f"GPU {_shown(context.gpus)}" if context.gpus else "no GPU"
    found = counted(seen, "GPU") if seen else "none"
    message = f"the plan gives {context.task} {given}, and TensorFlow sees {found}"
    if seen < len(context.gpus):
        # TensorFlow says why in the log: a library that it misses, a driver that is too old.
        return f"{message}; its log says why (CUDA comes with pip install 'tensorflow[and-cuda]')"
    return f"{message}; CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES')!r}"


def _shown(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
