"""Assigns one host's cores and GPUs to the tasks that start on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

from launcher.contract.task import Task
from launcher.errors import Problem, SpecError
from launcher.host.inventory import Core, Gpu, Inventory
from launcher.plan.cores import CoreShare, assign_cores, usable_cores
from launcher.plan.gpus import assign_gpus, shared_gpus
from launcher.plan.requests import TaskRequest, by_job


@dataclass(frozen=True)
class DeviceShare:
    """What one task gets; no cores: it is not pinned. ``threads`` is how many threads of a kind it can use."""

    cores: tuple[int, ...]
    threads: int
    gpus: tuple[int, ...]
    shares_gpu: bool = False  # another task computes on one of them


def assign_devices(requests: Sequence[TaskRequest], inventory: Inventory) -> dict[Task, DeviceShare]:
    """Assign this host's cores and GPUs; SpecError says what was asked and what there is if it has too few."""
    problems: list[Problem] = []
    gpus: dict[Task, tuple[int, ...]] = {}
    cores: Mapping[Task, CoreShare] = {}
    try:
        gpus = assign_gpus([request for request in requests if request.trains], inventory)
    except SpecError as error:
        problems += error.problems
    try:
        cores = assign_cores(requests, gpus, inventory)
    except SpecError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems)
    shared = shared_gpus(gpus)
    return {
        task: DeviceShare(share.cores, share.threads, own := gpus.get(task, ()), bool(shared.intersection(own)))
        for task, share in cores.items()
    }


def assumed_inventory(requests: Sequence[TaskRequest], like: Inventory) -> Inventory:
    """Return the inventory of a host that is like the given one, and has all that is asked of it."""
    cores = max(len(usable_cores(like)), sum(request.job.cpus or 0 for request in requests))
    groups = [group for _, group in by_job([request for request in requests if request.trains])]
    listed = {gpu for group in groups if isinstance(gpus := group[0].job.gpus, tuple) for gpu in gpus}
    counted = sum(gpus * len(group) for group in groups if isinstance(gpus := group[0].job.gpus, int))
    auto = sum(len(group) for group in groups if group[0].job.gpus == "auto")
    # Tasks with ``auto`` get as many as the other tasks there have (rounded up: a task that shares a GPU has one), or
    # as many as there are here.
    each = [-(-len(gpus) // len(group)) if isinstance(gpus := group[0].job.gpus, tuple) else gpus for group in groups]
    known = [number for number in each if isinstance(number, int)]
    left = auto * known[0] if known else len(like.gpus)
    free = (number for number in count() if number not in listed)
    ids = sorted([*listed, *islice(free, counted + (left if auto else 0))])
    there = tuple(Gpu(id=number, uuid="", name="", total=0, free=0) for number in ids)
    return replace(like, cores=tuple(map(Core, range(cores))), gpus=there, cpu_quota=None)
