"""The GPUs that this process may use, as NVIDIA's driver reports them; without TensorFlow."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PCI = Path("/sys/bus/pci/devices")
_MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """One GPU; ``id`` is its number in nvidia-smi, ``total`` and ``free`` are MiB (0: unknown)."""

    id: int
    uuid: str
    name: str
    total: int
    free: int
    node: int = 0  # its NUMA node
    mig: bool = False  # split into parts by Multi-Instance GPU: CUDA does not see it as a whole
    users: tuple[int, ...] = ()  # processes that compute on it already


def read_gpus() -> tuple[tuple[Gpu, ...], str]:
    """Return the visible GPUs and, in a line, why there is none, or which are left out (empty: nothing to say)."""
    try:
        import pynvml  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return (), "nvidia-ml-py is not installed, so GPUs cannot be found"
    try:
        pynvml.nvmlInit()
    except Exception as error:  # noqa: BLE001  # whatever is wrong with the driver, this host then has no usable GPU
        return (), _reason(error)
    try:
        there = [_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    except Exception as error:  # noqa: BLE001
        return (), f"the NVIDIA driver does not answer: {error}"
    finally:
        with suppress(Exception):
            pynvml.nvmlShutdown()
    visible, note = _visible(there, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return _whole(visible, note)


def _reason(error: Exception) -> str:
    if type(error).__name__ == "NVMLError_LibraryNotFound":
        return "no NVIDIA driver"
    return f"the NVIDIA driver does not answer: {error}"


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    mig = _mig(nvml, handle)
    total, free = (0, 0) if mig else _memory(nvml, handle)  # only root may ask about a GPU that MIG has split
    name, uuid = (_text(read(handle)) for read in (nvml.nvmlDeviceGetName, nvml.nvmlDeviceGetUUID))
    node = _node_of_pci(_text(nvml.nvmlDeviceGetPciInfo(handle).busId))
    return Gpu(index, uuid, name, total, free, node, mig, _users(nvml, handle))


def _memory(nvml: Any, handle: Any) -> tuple[int, int]:
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError_NotSupported:  # it has no memory of its own, it uses the host's
        return 0, 0
    return memory.total // _MIB, memory.free // _MIB


def _mig(nvml: Any, handle: Any) -> bool:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
    except Exception:  # noqa: BLE001  # a GPU or a driver without MIG
        return False
    return bool(current)


def _users(nvml: Any, handle: Any) -> tuple[int, ...]:
    try:
        return tuple(sorted(process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)))
    except Exception:  # noqa: BLE001  # some drivers show this to root only, and nothing depends on it
        return ()


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value  # older versions return bytes


def _node_of_pci(bus: str) -> int:
    # NVML writes the domain with eight digits, the kernel with at least four.
    try:
        domain, _, slot = bus.lower().partition(":")
        return max(0, int((_PCI / f"{int(domain, 16):04x}:{slot}" / "numa_node").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return 0


def _visible(there: list[Gpu], variable: str | None) -> tuple[list[Gpu], str]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves, in its order; CUDA reads it up to the first unknown word."""
    if not there:
        return [], "the NVIDIA driver finds none"
    if variable is None:
        return there, ""
    chosen: list[Gpu] = []
    for word in (part.strip() for part in variable.split(",")):
        named = [gpu for gpu in there if word == str(gpu.id) or (len(word) > 4 and gpu.uuid.startswith(word))]
        if len(named) != 1 or named[0] in chosen:
            break
        chosen.append(named[0])
    if variable.startswith("MIG-"):
        why = "names parts of GPUs split by MIG, which the launcher cannot use; name whole GPUs"
        return [], f"CUDA_VISIBLE_DEVICES={variable} {why}"
    return chosen, "" if chosen else f"CUDA_VISIBLE_DEVICES={variable} hides the GPUs of this machine"


def _whole(gpus: list[Gpu], note: str) -> tuple[tuple[Gpu, ...], str]:
    """Leave out GPUs that MIG has split: their parts have names of their own, which the launcher does not place."""
    split = [str(gpu.id) for gpu in gpus if gpu.mig]
    if split:
        note = f"GPU {', '.join(split)} left out: split by MIG (nvidia-smi --multi-instance-gpu 0 makes it whole)"
    return tuple(gpu for gpu in gpus if not gpu.mig), note
