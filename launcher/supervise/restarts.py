"""How often a run may start tasks again, and how long it waits before it does."""

from __future__ import annotations

import random
from collections.abc import Callable

_FIRST, _LONGEST = 1.0, 30.0  # seconds
HEALTHY = 600.0  # seconds without a restart after which those before no longer count


class Restarts:
    """The budget run.restarts, spent one by one; each pause is twice the last, times 0.5 to 1.5.

    Several launchers restart their parts of one cluster at the same moment: the jitter keeps them from doing so again
    and again.
    """

    def __init__(self, allowed: int, jitter: Callable[[], float] = random.random) -> None:
        """``jitter`` returns numbers from 0 to 1."""
        self.allowed, self.used = allowed, 0
        self._jitter = jitter
        self._last: float | None = None  # when the last one was asked for

    def left(self, now: float) -> bool:
        """Whether there is one left at that time, in seconds of any clock that only goes forward."""
        if self._last is not None and now - self._last >= HEALTHY:
            self.used = 0
        return self.used < self.allowed

    def take(self, now: float) -> float | None:
        """Spend one; return the seconds to wait before it, or None where none is left."""
        if not self.left(now):
            return None
        self.used += 1
        return self.grant(now)

    def grant(self, now: float) -> float:
        """Return the seconds to wait before one that need not be spent."""
        self._last = now
        return min(_FIRST * 2.0 ** max(0, self.used - 1), _LONGEST) * (0.5 + self._jitter())

    def __str__(self) -> str:
        return f"restart {self.used} of {self.allowed}"
