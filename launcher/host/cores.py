"""The CPU cores that this process may use: its affinity, cut by the quotas of its control groups, with NUMA nodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_NODES = Path("/sys/devices/system/node")
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class Core:
    """One CPU core that this process may use; ``node`` is its NUMA node, 0 where nobody says."""

    id: int
    node: int = 0


def read_cores() -> tuple[tuple[Core, ...], str]:
    """Return the cores that may be used, and in a line what takes others away (empty: nothing)."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    ids = sorted(affinity(0)) if affinity else range(os.cpu_count() or 1)
    nodes = _nodes_of_cores()
    cores = tuple(Core(number, nodes.get(number, 0)) for number in ids)
    quota = cpu_quota()
    # Less than a core is still one: a task has to run somewhere.
    usable = max(1, int(quota)) if quota is not None else len(cores)
    if usable >= len(cores):
        return cores, ""
    # From every node in turn, so that the GPUs of each have cores near them.
    ranks = [[core.node for core in cores[:position]].count(core.node) for position, core in enumerate(cores)]
    first = sorted(zip(ranks, cores, strict=True), key=lambda pair: pair[0])[:usable]
    kept = tuple(sorted((core for _, core in first), key=lambda core: core.id))
    return kept, f"a control group allows {quota:g} of {len(cores)} cores"


def cpu_quota(own: Path = _OWN_GROUPS, groups: Path = _GROUPS) -> float | None:
    """Return how many cores' worth of time the control groups allow (versions 1 and 2), None without a limit.

    The strictest of all groups from this process's own to the root counts. A container may see its own group as the
    root although its name is that of the host, so groups that are not there are passed over.
    """
    try:
        lines = own.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers and path:
            quotas += _limits(groups, path, _read_v2)
        elif "cpu" in controllers.split(","):
            for mounted in (groups / "cpu", groups / controllers):
                quotas += _limits(mounted, path, _read_v1)
    return min(quotas, default=None)


def _limits(mounted: Path, path: str, read: Callable[[Path], float | None]) -> Iterator[float]:
    inside = Path(path.lstrip("/"))
    for group in (inside, *inside.parents):
        with suppress(OSError, ValueError, ZeroDivisionError):
            if (quota := read(mounted / group)) is not None:
                yield quota


def _read_v2(group: Path) -> float | None:
    quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    return None if quota == "max" else int(quota) / int(period)


def _read_v1(group: Path) -> float | None:
    quota = int((group / "cpu.cfs_quota_us").read_text(encoding="ascii"))
    period = int((group / "cpu.cfs_period_us").read_text(encoding="ascii"))
    return None if quota < 0 else quota / period


def _nodes_of_cores() -> dict[int, int]:
    found: dict[int, int] = {}
    with suppress(OSError, ValueError):
        for path in sorted(_NODES.glob("node[0-9]*/cpulist")):
            node = int(path.parent.name.removeprefix("node"))
            found |= dict.fromkeys(_ranges(path.read_text(encoding="ascii")), node)
    return found


def _ranges(text: str) -> list[int]:
    """Return the numbers of the kernel's ``0-3,8``."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
