"""Inventory: what this host has; read once, and from there on plain data."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from launcher.cluster.cores import Core, read_cores
from launcher.cluster.gpus import Gpu, read_gpus

__all__ = ["MOST_PORTS", "Core", "Gpu", "Inventory", "free_ports", "take"]

MOST_PORTS = 16_384  # about half of what systems set aside; nearer to the end every search takes long


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


def free_ports(count: int) -> tuple[int, ...]:
    """Return that many ports (MOST_PORTS at most) that nobody holds.

    They are held all at once while they are looked for, since the kernel hands none out twice then.
    """
    found: dict[int, None] = {}
    count = min(count, MOST_PORTS)
    while len(found) < count:
        before = len(found)
        with ExitStack() as held, suppress(OSError):  # out of file descriptors or ports: these go back, then on
            while len(found) < count:
                # TensorFlow listens on every interface, so the port must be free on every one.
                probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                probe.bind(("", 0))
                found[probe.getsockname()[1]] = None
        if len(found) == before:
            break
    return tuple(found)
