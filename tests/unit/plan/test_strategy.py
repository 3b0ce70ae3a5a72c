"""Which strategy and communication follow from the devices, and which devices are refused."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.errors import SpecError
from launcher.plan.placement import place
from launcher.spec.model import ClusterSpec
from tests.unit.plan.machines import machine, placed, refused


@pytest.mark.parametrize(
    ("there", "worker", "strategy", "communication"),
    [
        (0, {"tasks": 1}, "OneDeviceStrategy", "none"),
        (1, {"tasks": 1}, "OneDeviceStrategy", "none"),
        (4, {"tasks": 1}, "MirroredStrategy", "NCCL"),
        (1, {"tasks": 1, "virtual_devices": 4, "gpu_memory": 100}, "MirroredStrategy", "RING"),
        (4, {"tasks": 1, "gpus": 0, "virtual_devices": 4}, "MirroredStrategy", "RING"),
        (8, {"tasks": 8, "gpus": 1}, "MultiWorkerMirroredStrategy", "NCCL"),
        (8, {"tasks": 2, "gpus": 4}, "MultiWorkerMirroredStrategy", "NCCL"),
        (0, {"tasks": 2}, "MultiWorkerMirroredStrategy", "RING"),
        (1, {"tasks": 2, "gpus": [0], "gpu_memory": 100}, "MultiWorkerMirroredStrategy", "RING"),
    ],
)
def test_the_strategy_follows_from_the_devices(
    there: int, worker: dict[str, Any], strategy: str, communication: str
) -> None:
    plan = placed(machine(there), worker=worker)
    assert (plan.strategy, plan.communication) == (strategy, communication)


def test_unequal_gpus_are_refused_with_the_reason() -> None:
    message = refused(machine(4), chief={"tasks": 1, "gpus": 1}, worker={"tasks": 1, "gpus": 2})
    assert message == (
        "cluster.worker.gpus: worker:0 would have 2 GPUs and chief:0 1; TensorFlow joins the devices of all training "
        "tasks one to one, so each needs the same number"
    )


def test_unequal_gpus_of_asynchronous_workers_on_two_machines_are_refused() -> None:
    addresses = ["node-a:1", "node-b:1", "node-b:2"]  # auto: two on the first, one for each on the second
    cluster = {"chief": ["node-a:3"], "worker": addresses, "ps": ["node-a:4"]}
    spec = ClusterSpec.model_validate({"job": "hello", "mode": "async", "cluster": {**_as_mappings(cluster)}})
    with pytest.raises(SpecError, match="worker:1 would have 1 GPU and worker:0 2; ParameterServerStrategy runs"):
        place(spec, machine(2))


def _as_mappings(cluster: dict[str, list[str]]) -> dict[str, Any]:
    return {name: {"addresses": addresses} for name, addresses in cluster.items()}
