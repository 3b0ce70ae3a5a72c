"""The memory of this host, as far as its control groups let it be used, and what is free of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.host.control_groups import GROUPS, OWN_GROUPS, ControlGroup, control_groups
from launcher.text import size


@dataclass(frozen=True)
class Memory:
    """Bytes: of the machine, free without swapping, and the limit of the strictest control group, if one is below."""

    total: int
    available: int
    limit: int | None = None

    @property
    def bound(self) -> str:
        """How much may be used at all, in words: ``limit of the control group: 2.0 GiB``."""
        if self.limit is None:
            return f"this machine has {size(self.total)}"
        return f"limit of the control group: {size(self.limit)}"


def read_memory(own: Path = OWN_GROUPS, groups: Path = GROUPS) -> Memory:
    """Return the memory that this process and its children may use."""
    import psutil  # slow to import

    machine = psutil.virtual_memory()
    found = [there for there in _limits(own, groups) if there[0] < machine.total]
    return Memory(
        total=machine.total,
        available=min([machine.available, *(max(0, limit - used) for limit, used in found)]),
        limit=min((limit for limit, _ in found), default=None),
    )


def _limits(own: Path, groups: Path) -> Iterator[tuple[int, int]]:
    """Yield the limit of each group that has one, and the bytes in use that the kernel cannot simply drop."""
    for group in control_groups("memory", own, groups):
        with suppress(OSError, ValueError):
            yield _read_v2(group) if group.version == 2 else _read_v1(group)


def _read_v2(group: ControlGroup) -> tuple[int, int]:
    limit = int(group.read("memory.max"))  # ValueError for "max"
    return limit, int(group.read("memory.current")) - counted_in(group.read("memory.stat"), "inactive_file")


def _read_v1(group: ControlGroup) -> tuple[int, int]:
    limit, used = int(group.read("memory.limit_in_bytes")), int(group.read("memory.usage_in_bytes"))
    return limit, used - counted_in(group.read("memory.stat"), "total_inactive_file")


def counted_in(text: str, name: str) -> int:
    """Return the number after this name in a file of lines ``name number``; ValueError if it is not there."""
    for line in text.splitlines():
        key, _, number = line.partition(" ")
        if key == name:
            return int(number)
    raise ValueError(name)
