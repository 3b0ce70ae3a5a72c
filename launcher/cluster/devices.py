"""Cores and GPUs of one host dealt out to the tasks that start on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, groupby, islice
from typing import NoReturn

from launcher.cluster.context import Role, Task
from launcher.cluster.inventory import Core, Gpu, Inventory
from launcher.cluster.spec import JobSpec
from launcher.errors import Problem, SpecError


@dataclass(frozen=True)
class Member:
    """A task that will start: what was asked for it, and what it will do."""

    task: Task
    job: JobSpec
    role: Role

    @property
    def trains(self) -> bool:
        """Whether it computes gradients."""
        return self.role == "train" or (self.role == "serve" and self.task.job == "worker")


@dataclass(frozen=True)
class Share:
    """What one task gets; no cores: it is not pinned. ``threads`` is how many of its kind are of use to it."""

    cores: tuple[int, ...]
    threads: int
    gpus: tuple[int, ...]


def refuse(job: str, key: str, message: str) -> NoReturn:
    """Raise the problem at that key of the job."""
    raise SpecError([Problem("", f"cluster.{job}.{key}", message)])


def deal(members: Sequence[Member], inventory: Inventory) -> dict[Task, Share]:
    """Deal this host's cores and GPUs to its tasks; SpecError with both sides where it has too few."""
    cores = _cores(members, inventory)
    gpus = _gpus([member for member in members if member.trains], inventory)
    return {task: Share(pinned, threads, gpus.get(task, ())) for task, (pinned, threads) in cores.items()}


def large_enough(members: Sequence[Member], like: Inventory) -> Inventory:
    """Return an inventory like the given one, of a host that has all that is asked of it."""
    cores = max(len(like.cores), sum(member.job.cpus or 0 for member in members))
    groups = [group for _, group in _by_job([member for member in members if member.trains])]
    listed = {gpu for group in groups if isinstance(gpus := group[0].job.gpus, tuple) for gpu in gpus}
    counted = sum(gpus * len(group) for group in groups if isinstance(gpus := group[0].job.gpus, int))
    auto = sum(len(group) for group in groups if group[0].job.gpus == "auto")
    # What is left for ``auto``: as many as the others there have, or as there are here.
    each = [len(gpus) // len(group) if isinstance(gpus := group[0].job.gpus, tuple) else gpus for group in groups]
    known = [number for number in each if isinstance(number, int)]
    left = auto * known[0] if known else len(like.gpus)
    free = (number for number in count() if number not in listed)
    ids = sorted([*listed, *islice(free, counted + (left if auto else 0))])
    there = tuple(Gpu(id=number, uuid="", name="", total=0, free=0) for number in ids)
    return replace(like, cores=tuple(map(Core, range(cores))), gpus=there)


def _by_job(members: Sequence[Member]) -> Iterator[tuple[str, list[Member]]]:
    for name, group in groupby(members, lambda member: member.task.job):
        yield name, list(group)


def _asks(tasks: int, each: int, word: str) -> str:
    """Return ``4 cores (2 tasks x 2)``."""
    number = f"{tasks * each} {word}{'' if tasks * each == 1 else 's'}"
    return f"{number} ({tasks} tasks x {each})" if tasks > 1 else number


def _cores(members: Sequence[Member], inventory: Inventory) -> dict[Task, tuple[tuple[int, ...], int]]:
    """Return each task's cores and threads: its own where ``cpus`` asks, else a share of what is left."""
    there = tuple(core.id for core in inventory.cores)
    pinned = [member for member in members if member.job.cpus]
    asked = sum(member.job.cpus or 0 for member in pinned)
    if asked > len(there):
        _refuse_cores(pinned, asked, len(there))
    found: dict[Task, tuple[tuple[int, ...], int]] = {}
    start = 0
    for member in pinned:
        count = member.job.cpus or 0
        found[member.task] = (there[start : start + count], count)
        start += count
    others = [member.task for member in members if not member.job.cpus]
    # Where nothing is left, or nobody asks for cores of its own, the kernel knows best where a task runs.
    left = there[start:] if pinned else ()
    threads = max(1, len(left or there) // max(1, len(others) if left else len(members)))
    return found | dict.fromkeys(others, (left, threads))


def _refuse_cores(pinned: Sequence[Member], asked: int, there: int) -> NoReturn:
    jobs = [(name, _asks(len(group), group[0].job.cpus or 0, "core")) for name, group in _by_job(pinned)]
    each = [f"{name} asks for {cores}" for name, cores in jobs]
    together = f", together {asked}" if len(jobs) > 1 else ""
    refuse(jobs[0][0], "cpus", f"{' and '.join(each)}{together}; this machine has {there}")


def _gpus(members: Sequence[Member], inventory: Inventory) -> dict[Task, tuple[int, ...]]:
    """Return each training task's GPUs: lists first, then counts, then ``auto`` evenly from what is left."""
    left = [gpu.id for gpu in inventory.gpus]
    found: dict[Task, tuple[int, ...]] = {}
    for name, group in _by_job(members):
        if isinstance(group[0].job.gpus, tuple):
            found |= _listed(name, group, group[0].job.gpus, left, inventory)
    for name, group in _by_job(members):
        if isinstance(group[0].job.gpus, int):
            found |= _counted(name, group, group[0].job.gpus, left, inventory)
    auto = [member.task for member in members if member.job.gpus == "auto"]
    each = len(left) // len(auto) if auto else 0
    return found | {task: _pop(left, each) for task in auto}


def _pop(left: list[int], count: int) -> tuple[int, ...]:
    taken = tuple(left[:count])
    del left[:count]
    return taken


def _listed(
    name: str, group: list[Member], ids: tuple[int, ...], left: list[int], inventory: Inventory
) -> dict[Task, tuple[int, ...]]:
    for gpu in ids:
        if gpu not in (there.id for there in inventory.gpus):
            refuse(name, "gpus", f"lists GPU {gpu}, and this machine has {_there(inventory)}")
        if gpu not in left:
            refuse(name, "gpus", f"lists GPU {gpu}, which another job has already")
        left.remove(gpu)
    each, rest = divmod(len(ids), len(group))
    if rest:
        refuse(name, "gpus", f"lists {len(ids)} GPUs, which {len(group)} tasks cannot share evenly")
    return {member.task: ids[i * each : (i + 1) * each] for i, member in enumerate(group)}


def _counted(
    name: str, group: list[Member], each: int, left: list[int], inventory: Inventory
) -> dict[Task, tuple[int, ...]]:
    asked = each * len(group)
    if asked > len(left):
        others = f", {len(left)} of them left by other jobs" if len(left) < len(inventory.gpus) else ""
        refuse(
            name,
            "gpus",
            f"{name} asks for {_asks(len(group), each, 'GPU')}; this machine has {_there(inventory)}{others}",
        )
    return {member.task: _pop(left, each) for member in group}


def _there(inventory: Inventory) -> str:
    if not inventory.gpus:
        return f"none ({inventory.gpu_note})" if inventory.gpu_note else "none"
    ids = ", ".join(str(gpu.id) for gpu in inventory.gpus)
    return f"{len(inventory.gpus)} (GPU {ids})"
