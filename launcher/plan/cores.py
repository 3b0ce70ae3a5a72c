"""Assigns one host's cores: to each task that asks for cores of its own, near its GPUs; the others share the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from launcher.contract.task import Task
from launcher.host.inventory import Core, Gpu, Inventory
from launcher.plan.requests import TaskRequest, asks, by_job, refuse


@dataclass(frozen=True)
class CoreShare:
    """The cores that a task may run on (none: any), and how many threads of a kind it can use there."""

    cores: tuple[int, ...]
    threads: int


def usable_cores(inventory: Inventory) -> tuple[Core, ...]:
    """Choose the cores that tasks run on: all of them, or as many as the quota of the control groups allows.

    Under a quota they are taken from every node in turn, so that the GPUs of each node have cores near them.
    """
    cores = inventory.cores
    # Less than one core still counts as one: a task has to run somewhere.
    allowed = len(cores) if inventory.cpu_quota is None else max(1, int(inventory.cpu_quota))
    if allowed >= len(cores):
        return cores
    nodes = [core.node for core in cores]
    ranks = [nodes[:position].count(node) for position, node in enumerate(nodes)]
    first = sorted(zip(ranks, cores, strict=True), key=lambda pair: pair[0])[:allowed]
    return tuple(sorted((core for _, core in first), key=lambda core: core.id))


def assign_cores(
    requests: Sequence[TaskRequest], gpus: Mapping[Task, Sequence[int]], inventory: Inventory
) -> dict[Task, CoreShare]:
    """Assign this host's cores; SpecError says what was asked and what there is if it has too few.

    A task with GPUs gets cores of their NUMA node first: what goes to a GPU from the other socket's memory crosses the
    link between the two.
    """
    cores = usable_cores(inventory)
    pinned = [request for request in requests if request.job.cpus]
    asked = sum(request.job.cpus or 0 for request in pinned)
    if asked > len(cores):
        _refuse(pinned, asked, len(cores))
    homes = _homes(gpus, cores, inventory.gpus)
    busy = {node for home in homes.values() for node in home}
    free = _CorePool(cores)
    found: dict[Task, CoreShare] = {}
    # Tasks with GPUs choose first: the others are as well off anywhere.
    for request in sorted(pinned, key=lambda request: not homes.get(request.task)):
        taken = free.take(request.job.cpus or 0, homes.get(request.task, ()), busy)
        found[request.task] = CoreShare(taken, len(taken))
    others = [request.task for request in requests if not request.job.cpus]
    # How many threads each task has if all cores are shared by all tasks.
    even = max(1, len(cores) // len(requests))
    return found | _share_rest(others, homes, free, even, is_any_pinned=bool(pinned))


def _homes(
    gpus: Mapping[Task, Sequence[int]], cores: Sequence[Core], there: Sequence[Gpu]
) -> dict[Task, tuple[int, ...]]:
    """Return the NUMA nodes of each task's GPUs; nothing if the host has only one node."""
    if len({core.node for core in cores}) < 2:
        return {}
    nodes = {gpu.id: gpu.node for gpu in there}
    return {task: tuple(dict.fromkeys(nodes[gpu] for gpu in own)) for task, own in gpus.items() if own}


def _share_rest(
    tasks: Sequence[Task], homes: Mapping[Task, tuple[int, ...]], free: _CorePool, even: int, *, is_any_pinned: bool
) -> dict[Task, CoreShare]:
    """Return what tasks without cores of their own share."""
    found: dict[Task, CoreShare] = {}
    for task in tasks:
        if near := free.on(homes.get(task, ())):
            # Each node's cores are shared by all tasks with GPUs on it, whatever other nodes they have.
            shares = (
                len(free.on([node])) // sum(node in homes.get(other, ()) for other in tasks) for node in homes[task]
            )
            found[task] = CoreShare(near, max(1, sum(shares)))
    left = free.on(None)
    if left and is_any_pinned:
        threads = max(1, len(left) // max(1, len(tasks)))
    else:
        # If nothing is left, or no task asks for cores of its own, the kernel knows best where a task runs.
        left, threads = (), even
    return {task: CoreShare(left, threads) for task in tasks} | found


class _CorePool:
    """The cores that are not assigned yet, by NUMA node."""

    def __init__(self, cores: Sequence[Core]) -> None:
        self._cores = list(cores)

    def on(self, nodes: Sequence[int] | None) -> tuple[int, ...]:
        """Return what is free on these nodes; None: on all."""
        return tuple(core.id for core in self._cores if nodes is None or core.node in nodes)

    def take(self, count: int, homes: Sequence[int], busy: Collection[int]) -> tuple[int, ...]:
        """Take that many: on the home nodes first, then on a node that has them all, then on any node.

        Nodes that are ``busy``, with the GPUs of some task, come after those that are not.
        """
        nodes = list(dict.fromkeys(core.node for core in self._cores))
        nodes.sort(key=lambda node: node in busy)
        whole = [node for node in nodes if len(self.on([node])) >= count]
        order = list(dict.fromkeys([*homes, *whole[:1], *nodes]))
        chosen = sorted(self._cores, key=lambda core: order.index(core.node))[:count]
        self._cores = [core for core in self._cores if core not in chosen]
        return tuple(core.id for core in chosen)


def _refuse(pinned: Sequence[TaskRequest], asked: int, there: int) -> NoReturn:
    jobs = [(name, asks(len(group), group[0].job.cpus or 0, "core")) for name, group in by_job(pinned)]
    each = [f"{name} asks for {cores}" for name, cores in jobs]
    together = f", together {asked}" if len(jobs) > 1 else ""
    refuse(jobs[0][0], "cpus", f"{' and '.join(each)}{together}; this machine has {there}")
