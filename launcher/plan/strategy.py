"""Chooses the strategy and the communication, and refuses devices that TensorFlow cannot join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.plan.devices import DeviceShare
from launcher.plan.requests import TaskRequest, refuse
from launcher.spec.rules import ONE_CPU_DEVICE, PARTS_NEED_MEMORY
from launcher.text import counted

_ONE_TO_ONE = {
    Role.TRAIN: "TensorFlow joins the devices of all training tasks one to one",
    Role.COMPUTE: "ParameterServerStrategy runs one and the same step on every worker",
}


class Strategy(NamedTuple):
    """How the tasks of a plan train together."""

    name: str  # the class name in tf.distribute
    communication: str  # RING or NCCL between replicas; gRPC to a ps; none
    reason: str  # why this strategy and this communication


def choose_strategy(requests: Sequence[TaskRequest], shares: Mapping[Task, DeviceShare]) -> Strategy:
    """Return the strategy that follows from the tasks and their devices, by the table of modes in the docs."""
    training = [request for request in requests if request.role is Role.TRAIN]
    if not training:
        workers, ps = (sum(request.task.job == job for request in requests) for job in ("worker", "ps"))
        reason = f"{counted(workers, 'worker')} updating variables on {ps} ps over gRPC, without waiting for each other"
        return Strategy("ParameterServerStrategy", "gRPC", reason)
    if len(training) > 1:
        communication, why = _communication(training, shares)
        over = " over gRPC" if communication == "RING" else ""
        reason = f"{len(training)} tasks take each step together; {communication}{over}, since {why}"
        return Strategy("MultiWorkerMirroredStrategy", communication, reason)
    devices = (len(shares[training[0].task].gpus) or 1) * (training[0].job.virtual_devices or 1)
    if devices == 1:
        return Strategy("OneDeviceStrategy", "none", "one task trains on one device")
    communication, why = _communication(training, shares)
    reason = f"one task trains on its {devices} devices; {communication}, since {why}"
    return Strategy("MirroredStrategy", communication, reason)


def check_devices(requests: Sequence[TaskRequest], shares: Mapping[Task, DeviceShare], *, alone: bool) -> None:
    """Raise SpecError if tasks that compute gradients together have unequal devices: TensorFlow would hang or fail.

    ``alone``: one task trains, and joins no cluster.
    """
    computing = [request for request in requests if request.trains]
    first = computing[0]
    for request in computing:
        name, gpus, virtual = request.task.job, len(shares[request.task].gpus), request.job.virtual_devices or 1
        _check_equal(request, first, "gpus", "GPU", gpus, len(shares[first.task].gpus))
        _check_equal(request, first, "virtual_devices", "virtual device", virtual, first.job.virtual_devices or 1)
        if gpus and virtual > 1 and request.job.gpu_memory is None:
            refuse(name, "virtual_devices", PARTS_NEED_MEMORY)
        if virtual > 1 and not gpus and not alone:
            refuse(name, "virtual_devices", ONE_CPU_DEVICE)


def _check_equal(request: TaskRequest, first: TaskRequest, key: str, word: str, own: int, others: int) -> None:
    if own != others:
        why = _ONE_TO_ONE[first.role]
        have = f"{request.task} would have {counted(own, word)} and {first.task} {others}"
        refuse(request.task.job, key, f"{have}; {why}, so each needs the same number")


def _communication(training: Sequence[TaskRequest], shares: Mapping[Task, DeviceShare]) -> tuple[str, str]:
    """Return what joins the devices that train, and why.

    MirroredStrategy decides the same by itself (distribute/mirrored_strategy.py:373).
    """
    if not all(shares[request.task].gpus for request in training):
        return "RING", "they compute on CPUs" if len(training) > 1 else "they are parts of the CPU"
    if any(shares[request.task].shares_gpu for request in training):
        return "RING", "some share a GPU and NCCL allows one of them on each"
    if any((request.job.virtual_devices or 1) > 1 for request in training):
        return "RING", "NCCL does not join parts of a GPU"
    return "NCCL", "each has GPUs of its own" if len(training) > 1 else "each is a whole GPU"
