"""One host's cores dealt out: to each task that asks for cores of its own, near its GPUs; the others share the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from launcher.contract.task import Task
from launcher.host.inventory import Inventory
from launcher.plan.requests import Member, asks, by_job, refuse


@dataclass(frozen=True)
class CoreShare:
    """The cores that a task may run on (none: any), and how many threads of a kind are of use to it there."""

    cores: tuple[int, ...]
    threads: int


def deal_cores(
    members: Sequence[Member], gpus: Mapping[Task, Sequence[int]], inventory: Inventory
) -> dict[Task, CoreShare]:
    """Deal this host's cores; SpecError with both sides where it has too few.

    A task with GPUs gets cores of their NUMA node first: what goes to a GPU from the other socket's memory crosses the
    link between the two.
    """
    pinned = [member for member in members if member.job.cpus]
    asked = sum(member.job.cpus or 0 for member in pinned)
    if asked > len(inventory.cores):
        _refuse(pinned, asked, len(inventory.cores))
    homes = _homes(gpus, inventory)
    busy = {node for home in homes.values() for node in home}
    free = _Free(inventory)
    found: dict[Task, CoreShare] = {}
    # Whoever has GPUs chooses first: the others are as well off anywhere.
    for member in sorted(pinned, key=lambda member: not homes.get(member.task)):
        cores = free.take(member.job.cpus or 0, homes.get(member.task, ()), busy)
        found[member.task] = CoreShare(cores, len(cores))
    others = [member.task for member in members if not member.job.cpus]
    return found | _rest(others, homes, free, inventory, everyone=len(members), is_any_pinned=bool(pinned))


def _homes(gpus: Mapping[Task, Sequence[int]], inventory: Inventory) -> dict[Task, tuple[int, ...]]:
    """Return the NUMA nodes of each task's GPUs; nothing where the host has only one."""
    if len({core.node for core in inventory.cores}) < 2:
        return {}
    nodes = {gpu.id: gpu.node for gpu in inventory.gpus}
    return {task: tuple(dict.fromkeys(nodes[gpu] for gpu in own)) for task, own in gpus.items() if own}


def _rest(
    tasks: Sequence[Task],
    homes: Mapping[Task, tuple[int, ...]],
    free: _Free,
    inventory: Inventory,
    *,
    everyone: int,
    is_any_pinned: bool,
) -> dict[Task, CoreShare]:
    """Return what tasks without cores of their own share."""
    found: dict[Task, CoreShare] = {}
    for task in tasks:
        if near := free.on(homes.get(task, ())):
            # Each node's cores are shared by all whose GPUs lie there, whatever other nodes they have.
            shares = (
                len(free.on([node])) // sum(node in homes.get(other, ()) for other in tasks) for node in homes[task]
            )
            found[task] = CoreShare(near, max(1, sum(shares)))
    left = free.on(None)
    if left and is_any_pinned:
        threads = max(1, len(left) // max(1, len(tasks)))
    else:
        # Where nothing is left, or nobody asks for cores of its own, the kernel knows best where a task runs.
        left, threads = (), max(1, len(inventory.cores) // everyone)
    return {task: CoreShare(left, threads) for task in tasks} | found


class _Free:
    """The cores that nobody has yet, by NUMA node."""

    def __init__(self, inventory: Inventory) -> None:
        self._cores = list(inventory.cores)

    def on(self, nodes: Sequence[int] | None) -> tuple[int, ...]:
        """Return what is free on these nodes; None: on all."""
        return tuple(core.id for core in self._cores if nodes is None or core.node in nodes)

    def take(self, count: int, homes: Sequence[int], busy: Collection[int]) -> tuple[int, ...]:
        """Take that many: at home first, then on a node that has them all, then wherever there are any.

        Nodes that are ``busy``, with the GPUs of some task, come after those that are not.
        """
        nodes = list(dict.fromkeys(core.node for core in self._cores))
        nodes.sort(key=lambda node: node in busy)
        whole = [node for node in nodes if len(self.on([node])) >= count]
        order = list(dict.fromkeys([*homes, *whole[:1], *nodes]))
        chosen = sorted(self._cores, key=lambda core: order.index(core.node))[:count]
        self._cores = [core for core in self._cores if core not in chosen]
        return tuple(core.id for core in chosen)


def _refuse(pinned: Sequence[Member], asked: int, there: int) -> NoReturn:
    jobs = [(name, asks(len(group), group[0].job.cpus or 0, "core")) for name, group in by_job(pinned)]
    each = [f"{name} asks for {cores}" for name, cores in jobs]
    together = f", together {asked}" if len(jobs) > 1 else ""
    refuse(jobs[0][0], "cpus", f"{' and '.join(each)}{together}; this machine has {there}")
