"""The CPU cores that this process may run on, with their NUMA nodes, and the CPU quota of its control groups."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.host.control_groups import GROUPS, OWN_GROUPS, ControlGroup, control_groups

_NODES = Path("/sys/devices/system/node")


@dataclass(frozen=True)
class Core:
    """One CPU core that this process may run on; ``node`` is its NUMA node, 0 if it is unknown."""

    id: int
    node: int = 0


def read_cores() -> tuple[Core, ...]:
    """Return the cores that this process may run on, in the order of their numbers."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    ids = sorted(affinity(0)) if affinity else range(os.cpu_count() or 1)
    nodes = _nodes_of_cores()
    return tuple(Core(number, nodes.get(number, 0)) for number in ids)


def cpu_quota(own: Path = OWN_GROUPS, groups: Path = GROUPS) -> float | None:
    """Return how many cores' worth of CPU time the control groups allow, the strictest; None if there is no limit."""
    quotas: list[float] = []
    for group in control_groups("cpu", own, groups):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = group.read("cpu.max").split() if group.version == 2 else _read_v1(group)
            quotas += [] if quota in ("max", "-1") else [int(quota) / int(period)]
    return min(quotas, default=None)


def _read_v1(group: ControlGroup) -> tuple[str, str]:
    return group.read("cpu.cfs_quota_us").strip(), group.read("cpu.cfs_period_us").strip()


def _nodes_of_cores() -> dict[int, int]:
    found: dict[int, int] = {}
    with suppress(OSError, ValueError):
        for path in sorted(_NODES.glob("node[0-9]*/cpulist")):
            node = int(path.parent.name.removeprefix("node"))
            found |= dict.fromkeys(_ranges(path.read_text(encoding="ascii")), node)
    return found


def _ranges(text: str) -> list[int]:
    """Return the numbers in a list of the kernel's, such as ``0-3,8``."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
