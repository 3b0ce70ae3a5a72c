"""A text picture of which task has which core and which GPU: host, NUMA node, device, task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from launcher.host.inventory import Gpu, Inventory
from launcher.plan.cores import usable_cores
from launcher.plan.plan import Plan, TaskPlan
from launcher.spec.model import LOOPBACK
from launcher.spec.rules import machine
from launcher.text import plural

_FREE = "-"  # no task has it
_WIDEST = 40  # characters of a row's numbers
_MOST_USERS = 3  # processes on a GPU that are named one by one


def device_map(plan: Plan, inventory: Inventory) -> Iterator[str]:
    """Yield the lines of the map: a line for each row of cores that the same tasks have, and for each GPU."""
    hosts: dict[str, list[TaskPlan]] = {}
    for task in plan.tasks:
        hosts.setdefault(machine(task.host) if task.host else LOOPBACK, []).append(task)
    for host, tasks in hosts.items():
        name = inventory.hostname if host == LOOPBACK else host
        yield from _columns(list(_rows(name, tasks, inventory)))


def ranges(numbers: Iterable[int]) -> str:
    """Return ``0-3,8`` for 0, 1, 2, 3 and 8."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def shown(numbers: Sequence[int]) -> str:
    """Return the numbers as ``ranges`` does, or an excerpt if the text would be too long."""
    text = ranges(numbers)
    return text if len(text) <= _WIDEST else f"{numbers[0]}…{numbers[-1]} ({len(numbers)} of them)"


def _rows(host: str, tasks: Sequence[TaskPlan], inventory: Inventory) -> Iterator[tuple[str, str, str, str]]:
    usable = usable_cores(inventory)
    nodes = sorted({core.node for core in usable} | {gpu.node for gpu in inventory.gpus})
    for node in nodes:
        first = (host if node == nodes[0] else "", f"node {node}")
        cores = [core.id for core in usable if core.node == node]
        for owners, ids in groupby(cores, lambda core: _owners(core, tasks)):
            row = list(ids)
            yield (*first, f"{plural(len(row), 'core')} {shown(row)}", owners)
            first = ("", "")
        for gpu in inventory.gpus:
            if gpu.node == node:
                yield (*first, _gpu(gpu), _names(task for task in tasks if gpu.id in task.gpus))
                first = ("", "")
    if roaming := [task for task in tasks if not task.cores]:
        yield ("", "", "any core", _names(roaming))  # wherever the kernel puts them


def _owners(core: int, tasks: Sequence[TaskPlan]) -> str:
    return _names(task for task in tasks if core in task.cores)


def _names(tasks: Iterable[TaskPlan]) -> str:
    """Return ``worker:0-3, ps:0``."""
    jobs = groupby((task.task for task in tasks), lambda task: task.job)
    return ", ".join(f"{job}:{ranges(task.index for task in group)}" for job, group in jobs) or _FREE


def _gpu(gpu: Gpu) -> str:
    facts = [gpu.name or "unknown", f"{gpu.free} of {gpu.total} MiB free" if gpu.total else "memory unknown"]
    if len(gpu.users) > _MOST_USERS:
        facts.append(f"used by {len(gpu.users)} processes")
    elif gpu.users:
        facts.append(f"used by process {', '.join(map(str, gpu.users))}")
    return f"GPU {gpu.id} ({', '.join(facts)})"


def _columns(rows: Sequence[tuple[str, str, str, str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[3]]).rstrip()
