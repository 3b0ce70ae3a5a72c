"""Inventory: what this host has; read once, and from there on plain data."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NODES = Path("/sys/devices/system/node")
_PCI = Path("/sys/bus/pci/devices")
_MIB = 1 << 20
MOST_PORTS = 16_384  # about half of what systems set aside; nearer to the end every search takes long


@dataclass(frozen=True)
class Core:
    """One CPU core that this process may use; ``node`` is its NUMA node, 0 where nobody says."""

    id: int
    node: int = 0


@dataclass(frozen=True)
class Gpu:
    """One GPU; ``id`` counts as nvidia-smi does, ``total`` and ``free`` are MiB, ``node`` is its NUMA node."""

    id: int
    uuid: str
    name: str
    total: int
    free: int
    node: int = 0


@dataclass(frozen=True)
class Inventory:
    """What one host has. ``gpu_note`` says in a line why there is no GPU; ``ports`` were free when it was taken."""

    hostname: str
    cores: tuple[Core, ...]
    gpus: tuple[Gpu, ...] = ()
    gpu_note: str = ""
    ports: tuple[int, ...] = ()


def take(ports: int = 0) -> Inventory:
    """Read this host, and find that many free ports on it."""
    gpus, note = _gpus()
    return Inventory(socket.gethostname(), _cores(), gpus, note, free_ports(ports))


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


def _cores() -> tuple[Core, ...]:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    ids = sorted(affinity(0)) if affinity else range(os.cpu_count() or 1)
    # A container's CPU quota is not in the affinity; where it is read one day, it cuts this list.
    nodes = _nodes_of_cores()
    return tuple(Core(number, nodes.get(number, 0)) for number in ids)


def _nodes_of_cores() -> dict[int, int]:
    found: dict[int, int] = {}
    with suppress(OSError, ValueError):
        for path in sorted(_NODES.glob("node[0-9]*/cpulist")):
            node = int(path.parent.name.removeprefix("node"))
            found |= dict.fromkeys(_ranges(path.read_text(encoding="ascii")), node)
    return found


def _ranges(text: str) -> list[int]:
    """Return the numbers of the kernel's ``0-3,8``."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _gpus() -> tuple[tuple[Gpu, ...], str]:
    """Return the visible GPUs, or none and why."""
    try:
        import pynvml  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return (), "nvidia-ml-py is not installed, so GPUs cannot be found"
    try:
        pynvml.nvmlInit()
    except Exception as error:  # noqa: BLE001  # whatever the driver does wrong: this host then has no GPU
        return (), _reason(error)
    try:
        there = [_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    except Exception as error:  # noqa: BLE001
        return (), f"the NVIDIA driver does not answer: {error}"
    finally:
        with suppress(Exception):
            pynvml.nvmlShutdown()
    return _visible(there, os.environ.get("CUDA_VISIBLE_DEVICES"))


def _reason(error: Exception) -> str:
    if type(error).__name__ == "NVMLError_LibraryNotFound":
        return "no NVIDIA driver"
    return f"the NVIDIA driver does not answer: {error}"


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name, uuid = (_text(read(handle)) for read in (nvml.nvmlDeviceGetName, nvml.nvmlDeviceGetUUID))
    node = _node_of_pci(_text(nvml.nvmlDeviceGetPciInfo(handle).busId))
    return Gpu(index, uuid, name, memory.total // _MIB, memory.free // _MIB, node)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value  # older versions answer in bytes


def _node_of_pci(bus: str) -> int:
    # NVML writes the domain with eight digits, the kernel with four.
    try:
        return max(0, int((_PCI / bus.lower()[-12:] / "numa_node").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return 0


def _visible(there: list[Gpu], variable: str | None) -> tuple[tuple[Gpu, ...], str]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves, in its order; CUDA reads it up to the first unknown word."""
    if not there:
        return (), "the NVIDIA driver finds none"
    if variable is None:
        return tuple(there), ""
    chosen: list[Gpu] = []
    for word in (part.strip() for part in variable.split(",")):
        named = [gpu for gpu in there if word == str(gpu.id) or (len(word) > 4 and gpu.uuid.startswith(word))]
        if not named or named[0] in chosen:
            break
        chosen.append(named[0])
    return tuple(chosen), "" if chosen else f"CUDA_VISIBLE_DEVICES={variable} hides the GPUs of this machine"
