"""Inventory: what this host has; read once, and plain data from then on."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from launcher.host.cores import Core, cpu_quota, read_cores
from launcher.host.gpus import Gpu, read_gpus
from launcher.host.memory import Memory, read_memory
from launcher.host.ports import free_ports

__all__ = ["Core", "Gpu", "Inventory", "Memory", "take"]


@dataclass(frozen=True)
class Inventory:
    """What one host has; ``ports`` were free when it was read.

    ``gpu_note`` says in a line why there is no GPU, or which are left out; ``core_note`` what keeps tasks from using
    all cores. ``cpu_quota`` is how many cores' worth of CPU time may be used (None: no limit).
    """

    hostname: str
    cores: tuple[Core, ...]
    gpus: tuple[Gpu, ...] = ()
    gpu_note: str = ""
    ports: tuple[int, ...] = ()
    core_note: str = ""
    cpu_quota: float | None = None
    memory: Memory | None = None  # None: not known


def take(ports: int = 0) -> Inventory:
    """Read this host, and find that many free ports on it."""
    gpus, gpu_note = read_gpus()
    cores, quota = read_cores(), cpu_quota()
    return Inventory(
        hostname=socket.gethostname(),
        cores=cores,
        gpus=gpus,
        gpu_note=gpu_note,
        ports=free_ports(ports),
        core_note=_core_note(len(cores), quota),
        cpu_quota=quota,
        memory=read_memory(),
    )


def _core_note(cores: int, quota: float | None) -> str:
    if quota is None or max(1, int(quota)) >= cores:
        return ""
    return f"a control group allows {quota:g} of {cores} cores"
