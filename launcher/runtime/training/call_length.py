"""CallLength: how many steps make one call."""

from __future__ import annotations

_SECONDS = 1.0  # of a call: short enough for a stop, long enough that its own cost does not show
_GROWTH = 4  # times the steps of the call before, at most: what a few steps took is a rough measure


class CallLength:
    """As many steps as the job says, or, if it says none, as many as take about a second."""

    def __init__(self, said: int = 0) -> None:
        self._is_fixed = said > 0
        self.steps = said or 1

    def took(self, steps: int, seconds: float) -> None:
        """Take in how long a call of so many steps took.

        A call that was cut short, by a report that is due, tells less about the steps than about the call.
        """
        if self._is_fixed or (steps < self.steps and seconds < _SECONDS):
            return
        fitting = int(steps * _SECONDS / max(seconds, 1e-6))
        self.steps = max(1, min(fitting, _GROWTH * self.steps))
