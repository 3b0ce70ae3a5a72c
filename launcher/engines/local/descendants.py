"""The processes below this one, as the kernel has them: who they are, which has ended, and the end of all."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_LAST_WAIT = 5.0  # seconds that killed processes get to disappear


def ended_child() -> int | None:
    """Return a child that has ended, which stays in the kernel's table; None if there is none."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None


def children() -> frozenset[int]:
    """Return the children of this process."""
    import psutil  # only a spawner that keeps warm needs it at its start

    return frozenset(child.pid for child in psutil.Process().children())


def kill_descendants(but: frozenset[int]) -> None:
    """Kill everything below this process, but for these children of it and what is below them."""
    import psutil  # only the last act needs it, and a task should not wait for its import

    this, deadline = psutil.Process(), time.monotonic() + _LAST_WAIT
    while time.monotonic() < deadline:
        own = [child for child in this.children() if child.pid not in but]
        below = [process for child in own for process in _below(child)]
        if not own:
            return
        for process in [*own, *below]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        # A killed parent hands its children to us: look again until there is nobody.
        psutil.wait_procs(own, timeout=0.5)


def _below(process: psutil.Process) -> list[psutil.Process]:
    import psutil

    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
