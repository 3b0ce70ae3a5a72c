"""Assigns one host's GPUs: lists as written, then counts in order, then ``auto`` evenly from what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from launcher.contract.task import Task
from launcher.host.inventory import Inventory
from launcher.plan.requests import TaskRequest, asks, by_job, refuse

SHARING = "tasks that share a GPU need gpu_memory, the MiB that each may use"


def assign_gpus(requests: Sequence[TaskRequest], inventory: Inventory) -> dict[Task, tuple[int, ...]]:
    """Assign GPUs to tasks that train; SpecError says what was asked and what there is if this host has too few."""
    pool = _GpuPool(inventory)
    for name, group in by_job(requests):
        if isinstance(group[0].job.gpus, tuple):
            pool.give_listed(name, group, group[0].job.gpus)
    for name, group in by_job(requests):
        if isinstance(group[0].job.gpus, int):
            pool.give_counted(name, group, group[0].job.gpus)
    auto = [request.task for request in requests if request.job.gpus == "auto"]
    each = len(pool.left) // len(auto) if auto else 0
    for task in auto:
        pool.found[task] = pool.take(each)
    _check_memory(requests, pool.found, inventory)
    return pool.found


def shared_gpus(found: dict[Task, tuple[int, ...]]) -> set[int]:
    """Return the GPUs that more than one task computes on."""
    uses = Counter(gpu for gpus in found.values() for gpu in gpus)
    return {gpu for gpu, tasks in uses.items() if tasks > 1}


class _GpuPool:
    """The GPUs that are not assigned yet, and the tasks that have the others."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self.left = [gpu.id for gpu in inventory.gpus]
        self.found: dict[Task, tuple[int, ...]] = {}
        self._unlimited: set[int] = set()  # GPUs of tasks without gpu_memory, which may take all of their memory

    def take(self, count: int) -> tuple[int, ...]:
        taken = tuple(self.left[:count])
        del self.left[:count]
        return taken

    def give_listed(self, name: str, group: list[TaskRequest], ids: tuple[int, ...]) -> None:
        limited = group[0].job.gpu_memory is not None
        for gpu in ids:
            if gpu not in (there.id for there in self._inventory.gpus):
                refuse(name, "gpus", f"lists GPU {gpu}, but this machine has {_available(self._inventory)}")
            if gpu in self._unlimited or (gpu not in self.left and not limited):
                refuse(name, "gpus", f"lists GPU {gpu}, which another job already has; {SHARING}")
        self.left = [gpu for gpu in self.left if gpu not in ids]
        self._unlimited |= set() if limited else set(ids)
        self.found |= _split(name, group, ids)

    def give_counted(self, name: str, group: list[TaskRequest], each: int) -> None:
        if each * len(group) > len(self.left):
            all_there = len(self.left) == len(self._inventory.gpus)
            others = "" if all_there else f", {len(self.left)} of them left by other jobs"
            there = f"this machine has {_available(self._inventory)}{others}"
            shares = bool(self._inventory.gpus) and group[0].job.gpu_memory is not None
            hint = "; tasks share a GPU if it is listed: gpus: [0]" if shares else ""
            refuse(name, "gpus", f"{name} asks for {asks(len(group), each, 'GPU')}; {there}{hint}")
        self.found |= {request.task: self.take(each) for request in group}


def _split(name: str, group: list[TaskRequest], ids: tuple[int, ...]) -> dict[Task, tuple[int, ...]]:
    """Return each task's part of a list: several GPUs each, or several tasks on each GPU."""
    each, rest = divmod(len(ids), len(group))
    if not rest:
        return {request.task: ids[i * each : (i + 1) * each] for i, request in enumerate(group)}
    together, rest = divmod(len(group), len(ids))
    if rest:
        refuse(name, "gpus", f"lists {len(ids)} GPUs, which {len(group)} tasks cannot share evenly")
    if group[0].job.gpu_memory is None:
        refuse(name, "gpus", f"lists {asks(1, len(ids), 'GPU')} for {len(group)} tasks; {SHARING}")
    return {request.task: (ids[i // together],) for i, request in enumerate(group)}


def _check_memory(requests: Sequence[TaskRequest], found: dict[Task, tuple[int, ...]], inventory: Inventory) -> None:
    for gpu in inventory.gpus:
        on_it = [request for request in requests if gpu.id in found[request.task] and request.job.gpu_memory]
        parts = [(request.job.gpu_memory or 0) * (request.job.virtual_devices or 1) for request in on_it]
        if gpu.total and sum(parts) > gpu.total:
            names, verb = " and ".join(str(request.task) for request in on_it), "ask" if len(on_it) > 1 else "asks"
            devices = sum(request.job.virtual_devices or 1 for request in on_it)
            most = f"; at most {gpu.total // devices} each" if devices > 1 else ""
            message = f"{names} {verb} for {sum(parts)} MiB of GPU {gpu.id}, which has {gpu.total}{most}"
            refuse(on_it[-1].task.job, "gpu_memory", message)


def _available(inventory: Inventory) -> str:
    if not inventory.gpus:
        return f"none ({inventory.gpu_note})" if inventory.gpu_note else "none"
    ids = ", ".join(str(gpu.id) for gpu in inventory.gpus)
    return f"{len(inventory.gpus)} (GPU {ids})"
