"""A control group with little memory, in which the kernel really kills what takes more."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_V1 = _ROOT / "memory"
_NUMBERS = itertools.count()


@contextmanager
def memory_group(limit: int) -> Iterator[Sequence[str]]:
    """Make a group that may use so many bytes; yields the words in front of a command that start it there.

    OSError where none can be made.
    """
    group = _make(limit)
    try:
        yield "sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$0" "$@"'
    finally:
        for _ in range(100):  # whoever was killed a moment ago may not be gone yet
            with suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.05)


def _make(limit: int) -> Path:
    name = f"launcher-test-{os.getpid()}-{next(_NUMBERS)}"
    if _V1.is_dir():
        group, files = _V1 / name, ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
    else:
        if "memory" not in (_ROOT / "cgroup.subtree_control").read_text().split():
            (_ROOT / "cgroup.subtree_control").write_text("+memory")
        group, files = _ROOT / name, ("memory.max", "memory.swap.max")
    group.mkdir()
    (group / files[0]).write_text(str(limit))
    with suppress(OSError):  # a kernel without swap has no file for it
        (group / files[1]).write_text(str(limit) if files[1].endswith("bytes") else "0")
    return group
