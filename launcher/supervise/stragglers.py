"""Pace: which worker is slower than its peers, for a fifth of run.stall_timeout: a minute, unless it is set."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

_TIMES = 2.0  # as long for a step as its peers
_MATTERS = 0.2  # of the time that a step takes in all; less is noise beside the waiting for each other


class Pace:
    """Each worker's own seconds per step, as the leader reports them."""

    def __init__(self, window: float) -> None:
        """``window`` is how long a worker must have been slow, in seconds."""
        self._window = window
        self._slow_since: dict[str, float] = {}
        self._named: set[str] = set()
        self._last: tuple[float, int] | None = None  # when the last report came, and its step

    def told(self, pace: Mapping[str, float], step: int, now: float) -> str:
        """Take in one report; return the warning that follows, once for each worker, or nothing."""
        before, self._last = self._last, (now, step)
        if before is None or step <= before[1]:
            self._slow_since.clear()  # another attempt
            return ""
        together = (now - before[0]) / (step - before[1])
        for name, own in pace.items():
            others = median([value for other, value in pace.items() if other != name] or [own])
            if own < _TIMES * others or own < _MATTERS * together:
                self._slow_since.pop(name, None)
            elif now - self._slow_since.setdefault(name, now) >= self._window and name not in self._named:
                self._named.add(name)
                return (
                    f"{name} is slow: its own part of a step takes {own * 1000:.3g} ms, "
                    f"that of the others {others * 1000:.3g} ms"
                )
        return ""
