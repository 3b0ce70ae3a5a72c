"""The control groups (versions 1 and 2) that this process is in, and whose limits hold for it and its children."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class ControlGroup:
    """One group of the kernel, and the version of the interface that its files are of."""

    directory: Path
    version: int  # 1 or 2

    def read(self, name: str) -> str:
        """Return what a file of it says; OSError if it has no such file."""
        return (self.directory / name).read_text(encoding="ascii", errors="replace")


def control_groups(controller: str, own: Path = OWN_GROUPS, groups: Path = GROUPS) -> Iterator[ControlGroup]:
    """Yield the groups with this controller that this process is in, each before the one that it is part of.

    A container may see its own group as the root although the group has the name it has on the host, so groups that do
    not exist are skipped.
    """
    try:
        lines = own.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers and path:
            yield from _inside(groups, path, 2)
        elif controller in controllers.split(","):
            for mounted in dict.fromkeys((groups / controller, groups / controllers)):
                yield from _inside(mounted, path, 1)


def _inside(mounted: Path, path: str, version: int) -> Iterator[ControlGroup]:
    inside = Path(path.lstrip("/"))
    for group in (inside, *inside.parents):
        if (mounted / group).is_dir():
            yield ControlGroup(mounted / group, version)
