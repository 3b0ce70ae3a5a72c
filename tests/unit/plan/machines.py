"""Invented machines, and what is placed on them."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.errors import SpecError
from launcher.host.inventory import Core, Gpu, Inventory
from launcher.plan.placement import place
from launcher.plan.plan import Plan
from launcher.spec.model import ClusterSpec

NAME, TOTAL = "NVIDIA H100 80GB HBM3", 81_559


def machine(gpus: int = 0, cores: int = 8, sockets: int = 1) -> Inventory:
    """Invent a machine; each socket has its row of cores and its row of GPUs."""
    return Inventory(
        hostname="node-a",
        cores=tuple(Core(number, number * sockets // cores) for number in range(cores)),
        gpus=tuple(Gpu(i, f"GPU-{i}", NAME, TOTAL, 81_000, i * sockets // gpus) for i in range(gpus)),
        gpu_note="" if gpus else "no NVIDIA driver",
        ports=tuple(range(20_000, 20_200)),
    )


def placed(there: Inventory, mode: str = "sync", **cluster: Any) -> Plan:
    jobs = {name: {"tasks": job} if isinstance(job, int) else job for name, job in cluster.items()}
    return place(ClusterSpec.model_validate({"job": "hello", "mode": mode, "cluster": jobs}), there)


def gpus(plan: Plan) -> dict[str, tuple[int, ...]]:
    return {str(task.task): task.gpus for task in plan.tasks}


def refused(there: Inventory, mode: str = "sync", **cluster: Any) -> str:
    with pytest.raises(SpecError) as caught:
        placed(there, mode, **cluster)
    return str(caught.value)
