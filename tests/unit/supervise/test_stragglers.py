"""Which workers are named as slower than their peers."""

from __future__ import annotations

import pytest

from launcher.supervise.stragglers import Stragglers


def warnings(own: float, seconds: int, wall: float = 0.01) -> list[str]:
    """Report every second how long a step takes worker:1, and the others 4 ms; a step takes ``wall`` seconds in all."""
    stragglers = Stragglers(60)
    steps = int(1 / wall)
    said = [
        stragglers.report({"worker:0": 0.004, "worker:1": own, "worker:2": 0.004}, now * steps, float(now))
        for now in range(seconds)
    ]
    return [line for line in said if line]


def test_a_worker_that_takes_twice_as_long_for_a_minute_is_named_once() -> None:
    assert warnings(0.009, 180) == [
        "worker:1 is a straggler: its own part of a step takes 9 ms, that of the others 4 ms (median)"
    ]


@pytest.mark.parametrize(
    ("own", "seconds", "wall"), [(0.009, 60, 0.01), (0.0079, 180, 0.01), (0.009, 180, 0.05), (0.004, 180, 0.01)]
)
def test_no_worker_is_named_for_less(own: float, seconds: int, wall: float) -> None:
    assert warnings(own, seconds, wall) == []
