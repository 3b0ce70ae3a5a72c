"""What is said while gigabytes are read or received."""

from __future__ import annotations

import time
from collections.abc import Callable

Watch = Callable[[str], None]  # is called with a sentence about once a second

SAY_EVERY = 1.0  # seconds
_MIB, _GIB = 1 << 20, 1 << 30


class Progress:
    """How much of a number of bytes is done, said about once a second: "verifying x: 3.1 of 8.0 GiB"."""

    def __init__(self, what: str, total: int, watch: Watch) -> None:
        self._what, self._total, self._watch = what, total, watch
        self._done = 0
        self._say_at = time.monotonic() + SAY_EVERY

    def add(self, count: int) -> None:
        """Count so many bytes more, and say it if it is time to."""
        self._done += count
        now = time.monotonic()
        if now >= self._say_at:
            self._say_at = now + SAY_EVERY
            self._watch(f"{self._what}: {_amount(self._done, self._total)}")


def _amount(done: int, total: int) -> str:
    size, unit = (_GIB, "GiB") if total >= _GIB else (_MIB, "MiB")
    return f"{done / size:.1f} of {total / size:.1f} {unit}"
