"""How often a run may start tasks again, and how long it waits before it does."""

from __future__ import annotations

import random
from collections.abc import Callable

_FIRST, _LONGEST = 1.0, 30.0  # seconds
HEALTHY = 600.0  # seconds of training, from its first step after a restart on, after which that no longer counts


class Restarts:
    """The budget run.restarts, spent one by one; each pause is twice the last, times 0.5 to 1.5.

    Several launchers restart their parts of one cluster at the same moment: the jitter keeps them from doing so again
    and again.
    """

    def __init__(self, allowed: int, jitter: Callable[[], float] = random.random) -> None:
        """``jitter`` returns numbers from 0 to 1."""
        self.allowed, self.used = allowed, 0
        self._jitter = jitter
        self._recovered_at: float | None = None  # when the first step after the last restart was made

    @property
    def left(self) -> bool:
        """Whether there is one left."""
        return self.used < self.allowed

    def trains(self, now: float) -> bool:
        """Note that a step was made, in seconds of any clock that only goes forward; whether the budget is whole again.

        Time in which nothing moves does not make it whole: it would last for ever where each restart ends in a stall.
        """
        if self._recovered_at is None:
            self._recovered_at = now
        if now - self._recovered_at < HEALTHY:
            return False
        self.used = 0
        return True

    def take(self) -> float | None:
        """Spend one; return the seconds to wait before it, or None where none is left."""
        if not self.left:
            return None
        self.used += 1
        return self.grant()

    def grant(self) -> float:
        """Return the seconds to wait before one that need not be spent."""
        self._recovered_at = None
        return min(_FIRST * 2.0 ** max(0, self.used - 1), _LONGEST) * (0.5 + self._jitter())

    def __str__(self) -> str:
        return f"restart {self.used} of {self.allowed}"
