"""Stragglers: workers that are slower than their peers for a fifth of run.stall_timeout (a minute by default)."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

_TIMES_SLOWER = 2.0  # than the median of its peers
_SHARE_OF_STEP = 0.2  # of the whole time of a step; less than that is noise beside the time spent waiting


class Stragglers:
    """Compares the seconds per step that each worker needs for its own part, as the leader reports them."""

    def __init__(self, window: float) -> None:
        """``window`` is how long a worker must have been slow, in seconds."""
        self._window = window
        self._slow_since: dict[str, float] = {}
        self._named: set[str] = set()
        self._last: tuple[float, int] | None = None  # the time and the step of the last report

    def report(self, step_times: Mapping[str, float], step: int, now: float) -> str:
        """Take in one report, seconds per step by worker; return a warning once for each straggler, else nothing."""
        before, self._last = self._last, (now, step)
        if before is None or step <= before[1]:
            self._slow_since.clear()  # another attempt
            return ""
        whole_step = (now - before[0]) / (step - before[1])
        for name, own in step_times.items():
            others = median([value for other, value in step_times.items() if other != name] or [own])
            if own < _TIMES_SLOWER * others or own < _SHARE_OF_STEP * whole_step:
                self._slow_since.pop(name, None)
            elif now - self._slow_since.setdefault(name, now) >= self._window and name not in self._named:
                self._named.add(name)
                return (
                    f"{name} is a straggler: its own part of a step takes {own * 1000:.3g} ms, "
                    f"that of the others {others * 1000:.3g} ms (median)"
                )
        return ""
