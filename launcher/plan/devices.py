"""Cores and GPUs of one host dealt out to the tasks that start on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

from launcher.contract.task import Task
from launcher.errors import Problem, SpecError
from launcher.host.inventory import Core, Gpu, Inventory
from launcher.plan.cores import CoreShare, deal_cores
from launcher.plan.gpus import deal_gpus, shared_gpus
from launcher.plan.requests import Member, by_job


@dataclass(frozen=True)
class Share:
    """What one task gets; no cores: it is not pinned. ``threads`` is how many of its kind are of use to it."""

    cores: tuple[int, ...]
    threads: int
    gpus: tuple[int, ...]
    shares_gpu: bool = False  # another task computes on one of them


def deal(members: Sequence[Member], inventory: Inventory) -> dict[Task, Share]:
    """Deal this host's cores and GPUs to its tasks; SpecError with both sides where it has too few."""
    problems: list[Problem] = []
    gpus: dict[Task, tuple[int, ...]] = {}
    cores: Mapping[Task, CoreShare] = {}
    try:
        gpus = deal_gpus([member for member in members if member.trains], inventory)
    except SpecError as error:
        problems += error.problems
    try:
        cores = deal_cores(members, gpus, inventory)
    except SpecError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems)
    shared = shared_gpus(gpus)
    return {
        task: Share(share.cores, share.threads, own := gpus.get(task, ()), bool(shared.intersection(own)))
        for task, share in cores.items()
    }


def large_enough(members: Sequence[Member], like: Inventory) -> Inventory:
    """Return an inventory like the given one, of a host that has all that is asked of it."""
    cores = max(len(like.cores), sum(member.job.cpus or 0 for member in members))
    groups = [group for _, group in by_job([member for member in members if member.trains])]
    listed = {gpu for group in groups if isinstance(gpus := group[0].job.gpus, tuple) for gpu in gpus}
    counted = sum(gpus * len(group) for group in groups if isinstance(gpus := group[0].job.gpus, int))
    auto = sum(len(group) for group in groups if group[0].job.gpus == "auto")
    # What is left for ``auto``: as many as the others there have (rounded up: whoever shares a GPU has one), or as
    # there are here.
    each = [-(-len(gpus) // len(group)) if isinstance(gpus := group[0].job.gpus, tuple) else gpus for group in groups]
    known = [number for number in each if isinstance(number, int)]
    left = auto * known[0] if known else len(like.gpus)
    free = (number for number in count() if number not in listed)
    ids = sorted([*listed, *islice(free, counted + (left if auto else 0))])
    there = tuple(Gpu(id=number, uuid="", name="", total=0, free=0) for number in ids)
    return replace(like, cores=tuple(map(Core, range(cores))), gpus=there)
