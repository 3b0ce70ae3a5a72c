"""How an asynchronous coordinator splits steps into calls, and how many it schedules at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.runtime.training.asynchronous import AsyncTrainer
from launcher.runtime.training.call_length import CallLength


def shares(steps: int, workers: int, steps_per_call: int) -> list[int]:
    there = AsyncTrainer.__new__(AsyncTrainer)
    vars(there).update(_workers=range(workers), _length=CallLength(steps_per_call))
    return there._calls(steps)


@pytest.mark.parametrize(
    ("steps", "workers", "per_call", "expected"),
    [(10, 2, 5, [5, 5]), (10, 2, 100, [5, 5]), (11, 2, 3, [3, 3, 3, 2]), (2, 3, 5, [1, 1]), (1, 1, 1, [1])],
)
def test_steps_are_split_into_calls(steps: int, workers: int, per_call: int, expected: list[int]) -> None:
    assert shares(steps, workers, per_call) == expected


@pytest.mark.parametrize(
    ("took", "expected"), [(1.0, 1000), (5.0, 200), (20.0, 50), (4000.0, 2)], ids=["fast", "right", "slow", "slowest"]
)
def test_as_many_steps_are_scheduled_as_can_be_finished_soon_by_whoever_is_asked_to_stop(
    took: float, expected: int
) -> None:
    there = AsyncTrainer.__new__(AsyncTrainer)
    vars(there).update(_workers=range(2), _length=CallLength(50), _first_call=None)
    there._set_batch(200, took)
    assert there._batch == expected


@given(st.integers(1, 500), st.integers(1, 20), st.integers(1, 50))
def test_calls_add_up_stay_short_and_are_equally_many_for_each_worker(steps: int, workers: int, per_call: int) -> None:
    calls = shares(steps, workers, per_call)
    assert sum(calls) == steps
    assert 1 <= min(calls) <= max(calls) <= per_call
    assert max(calls) - min(calls) <= 1
    assert len(calls) % workers == 0 or len(calls) == steps
