"""One host's GPUs dealt out: lists as written, then counts in order, then ``auto`` evenly from what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from launcher.contract.task import Task
from launcher.host.inventory import Inventory
from launcher.plan.requests import Member, asks, by_job, refuse

SHARING = "two tasks on one GPU need gpu_memory for each, the MiB that it may take"


def deal_gpus(members: Sequence[Member], inventory: Inventory) -> dict[Task, tuple[int, ...]]:
    """Return the GPUs of each task that trains; SpecError with both sides where this host has too few."""
    hand = _Hand(inventory)
    for name, group in by_job(members):
        if isinstance(group[0].job.gpus, tuple):
            hand.listed(name, group, group[0].job.gpus)
    for name, group in by_job(members):
        if isinstance(group[0].job.gpus, int):
            hand.counted(name, group, group[0].job.gpus)
    auto = [member.task for member in members if member.job.gpus == "auto"]
    each = len(hand.left) // len(auto) if auto else 0
    for task in auto:
        hand.found[task] = hand.take(each)
    _check_memory(members, hand.found, inventory)
    return hand.found


def shared_gpus(found: dict[Task, tuple[int, ...]]) -> set[int]:
    """Return the GPUs that more than one task computes on."""
    uses = Counter(gpu for gpus in found.values() for gpu in gpus)
    return {gpu for gpu, tasks in uses.items() if tasks > 1}


class _Hand:
    """The GPUs that nobody has yet, and who has the others."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self.left = [gpu.id for gpu in inventory.gpus]
        self.found: dict[Task, tuple[int, ...]] = {}
        self._unlimited: set[int] = set()  # whoever has these may take all of their memory

    def take(self, count: int) -> tuple[int, ...]:
        taken = tuple(self.left[:count])
        del self.left[:count]
        return taken

    def listed(self, name: str, group: list[Member], ids: tuple[int, ...]) -> None:
        limited = group[0].job.gpu_memory is not None
        for gpu in ids:
            if gpu not in (there.id for there in self._inventory.gpus):
                refuse(name, "gpus", f"lists GPU {gpu}, and this machine has {_there(self._inventory)}")
            if gpu in self._unlimited or (gpu not in self.left and not limited):
                refuse(name, "gpus", f"lists GPU {gpu}, which another job has already; {SHARING}")
        self.left = [gpu for gpu in self.left if gpu not in ids]
        self._unlimited |= set() if limited else set(ids)
        self.found |= _split(name, group, ids)

    def counted(self, name: str, group: list[Member], each: int) -> None:
        if each * len(group) > len(self.left):
            all_there = len(self.left) == len(self._inventory.gpus)
            others = "" if all_there else f", {len(self.left)} of them left by other jobs"
            there = f"this machine has {_there(self._inventory)}{others}"
            shares = bool(self._inventory.gpus) and group[0].job.gpu_memory is not None
            hint = "; tasks share a GPU where it is listed: gpus: [0]" if shares else ""
            refuse(name, "gpus", f"{name} asks for {asks(len(group), each, 'GPU')}; {there}{hint}")
        self.found |= {member.task: self.take(each) for member in group}


def _split(name: str, group: list[Member], ids: tuple[int, ...]) -> dict[Task, tuple[int, ...]]:
    """Return each task's part of a list: several GPUs each, or several tasks on each GPU."""
    each, rest = divmod(len(ids), len(group))
    if not rest:
        return {member.task: ids[i * each : (i + 1) * each] for i, member in enumerate(group)}
    together, rest = divmod(len(group), len(ids))
    if rest:
        refuse(name, "gpus", f"lists {len(ids)} GPUs, which {len(group)} tasks cannot share evenly")
    if group[0].job.gpu_memory is None:
        refuse(name, "gpus", f"lists {asks(1, len(ids), 'GPU')} for {len(group)} tasks; {SHARING}")
    return {member.task: (ids[i // together],) for i, member in enumerate(group)}


def _check_memory(members: Sequence[Member], found: dict[Task, tuple[int, ...]], inventory: Inventory) -> None:
    for gpu in inventory.gpus:
        on_it = [member for member in members if gpu.id in found[member.task] and member.job.gpu_memory]
        parts = [(member.job.gpu_memory or 0) * (member.job.virtual_devices or 1) for member in on_it]
        if gpu.total and sum(parts) > gpu.total:
            names, verb = " and ".join(str(member.task) for member in on_it), "ask" if len(on_it) > 1 else "asks"
            devices = sum(member.job.virtual_devices or 1 for member in on_it)
            most = f"; at most {gpu.total // devices} each" if devices > 1 else ""
            message = f"{names} {verb} for {sum(parts)} MiB of GPU {gpu.id}, which has {gpu.total}{most}"
            refuse(on_it[-1].task.job, "gpu_memory", message)


def _there(inventory: Inventory) -> str:
    if not inventory.gpus:
        return f"none ({inventory.gpu_note})" if inventory.gpu_note else "none"
    ids = ", ".join(str(gpu.id) for gpu in inventory.gpus)
    return f"{len(inventory.gpus)} (GPU {ids})"
