"""Inventory: what this host has; read once, and from there on plain data."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from launcher.host.cores import Core, read_cores
from launcher.host.gpus import Gpu, read_gpus
from launcher.host.ports import free_ports

__all__ = ["Core", "Gpu", "Inventory", "take"]


@dataclass(frozen=True)
class Inventory:
    """What one host has; ``ports`` were free when it was taken.

    ``gpu_note`` says in a line why there is no GPU, or which are left out; ``core_note`` what takes cores away.
    """

    hostname: str
    cores: tuple[Core, ...]
    gpus: tuple[Gpu, ...] = ()
    gpu_note: str = ""
    ports: tuple[int, ...] = ()
    core_note: str = ""


def take(ports: int = 0) -> Inventory:
    """Read this host, and find that many free ports on it."""
    gpus, gpu_note = read_gpus()
    cores, core_note = read_cores()
    return Inventory(socket.gethostname(), cores, gpus, gpu_note, free_ports(ports), core_note)
