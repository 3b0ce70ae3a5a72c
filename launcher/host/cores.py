"""The CPU cores that this process may run on, with their NUMA nodes, and the CPU quota of its control groups."""

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
    """One CPU core that this process may run on; ``node`` is its NUMA node, 0 if it is unknown."""

    id: int
    node: int = 0


def read_cores() -> tuple[Core, ...]:
    """Return the cores that this process may run on, in the order of their numbers."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    ids = sorted(affinity(0)) if affinity else range(os.cpu_count() or 1)
    nodes = _nodes_of_cores()
    return tuple(Core(number, nodes.get(number, 0)) for number in ids)


def cpu_quota(own: Path = _OWN_GROUPS, groups: Path = _GROUPS) -> float | None:
    """Return how many cores' worth of CPU time the control groups (versions 1 and 2) allow; None if there is no limit.

    The strictest of all groups from this process's own to the root counts. A container may see its own group as the
    root although the group has the name it has on the host, so groups that do not exist are skipped.
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
    """Return the numbers in a list of the kernel's, such as ``0-3,8``."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
