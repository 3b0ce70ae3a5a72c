"""The first operations anyone runs, on every device of every task; a wrong answer or a wrong device fails the task."""

from __future__ import annotations

import tensorflow as tf

from launcher import Job, Metrics


class Hello(Job):
    """Adds, multiplies and multiplies matrices on each device, and prints which device of which task did it."""

    steps = 0  # nothing is trained

    def evaluate(self) -> Metrics:
        """Compute on every device that this task checks; returns their number."""
        devices = [device.name for device in tf.config.list_logical_devices() if self._checks(device)]
        for device in devices:
            self._compute_on(device)
        return {"devices": len(devices)}

    def _checks(self, device: tf.config.LogicalDevice) -> bool:
        # A coordinator checks the devices of the whole cluster; in a synchronous cluster each task checks its own.
        place = tf.DeviceSpec.from_string(device.name)
        own = (place.job, place.task) in ((None, None), ("localhost", 0), tuple(self.context.task))
        return place.device_type in ("CPU", "GPU") and (own or self.context.role == "coordinate")

    def _compute_on(self, device: str) -> None:
        with tf.device(device):
            two, three = tf.constant(2.0), tf.constant(3.0)
            answers = {
                "2 + 3": (two + three, 5.0),
                "2 × 3": (two * three, 6.0),
                "[[3, 3]] · [[2], [2]]": (tf.constant([[3.0, 3.0]]) @ tf.constant([[2.0], [2.0]]), 12.0),
            }
        for question, (answer, right) in answers.items():
            _check(question, answer, right, device)
        shown = ", ".join(f"{question} = {_shown(answer)}" for question, (answer, _) in answers.items())
        print(f"{self._label(device)}: {shown}", flush=True)

    def _label(self, device: str) -> str:
        place = tf.DeviceSpec.from_string(device)
        local = place.job in (None, "localhost")
        task = str(self.context.task) if local else f"{place.job}:{place.task}"
        return f"{task} {place.device_type}:{place.device_index}"


def _check(question: str, answer: tf.Tensor, right: float, device: str) -> None:
    asked, used = tf.DeviceSpec.from_string(device), tf.DeviceSpec.from_string(answer.device)
    if float(tf.reshape(answer, [])) != right:
        raise ArithmeticError(f"{question} is {right:g}, but {device} computed {float(tf.reshape(answer, [])):g}")
    same = (asked.device_type, asked.device_index) == (used.device_type, used.device_index)
    if not same or (asked.job not in (None, "localhost") and (asked.job, asked.task) != (used.job, used.task)):
        raise RuntimeError(f"{question} was to be computed on {device}, but {answer.device} computed it")


def _shown(answer: tf.Tensor) -> str:
    return str(answer.numpy().astype(int).tolist())
