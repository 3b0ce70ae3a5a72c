"""How an asynchronous coordinator splits steps into calls, and how many it schedules at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from launcher.runtime.training.asynchronous import AsyncTrainer
from launcher.runtime.training.call_length import CallLength
from launcher.runtime.training.stop import Stop
from tests.unit.runtime.conftest import task_context

if TYPE_CHECKING:
    from launcher.runtime.job import Job
    from launcher.runtime.reporter import Reporter


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
    ("took", "finish", "expected"),
    [(1.0, 12.0, 1000), (5.0, 12.0, 200), (20.0, 12.0, 50), (4000.0, 12.0, 2), (5.0, 2.0, 40)],
    ids=["fast", "right", "slow", "slowest", "a short run.grace"],
)
def test_as_many_steps_are_scheduled_as_can_be_finished_soon_by_whoever_is_asked_to_stop(
    took: float, finish: float, expected: int
) -> None:
    there = AsyncTrainer.__new__(AsyncTrainer)
    vars(there).update(_workers=range(2), _length=CallLength(50), _first_call=None, _finish=finish)
    there._set_batch(200, took)
    assert there._batch == expected


@given(st.integers(1, 500), st.integers(1, 20), st.integers(1, 50))
def test_calls_add_up_stay_short_and_are_equally_many_for_each_worker(steps: int, workers: int, per_call: int) -> None:
    calls = shares(steps, workers, per_call)
    assert sum(calls) == steps
    assert 1 <= min(calls) <= max(calls) <= per_call
    assert max(calls) - min(calls) <= 1
    assert len(calls) % workers == 0 or len(calls) == steps


class Endless:
    """A coordinator whose calls never end."""

    def schedule(self, *_: object, **__: object) -> None:
        """Take a call."""

    def done(self) -> bool:
        """Whether all have ended."""
        return False


def test_calls_that_do_not_end_in_time_are_left_so_that_the_task_ends_before_it_is_killed() -> None:
    there, stop = AsyncTrainer.__new__(AsyncTrainer), Stop()
    vars(there).update(
        _workers=range(2), _length=CallLength(50), _iterator=object(), _coordinator=Endless(), _call=None, _batch=10,
        step=0, _stop=stop, _finish=0.0, _tell_progress=lambda: stop._ask(15, None),
    )  # fmt: skip
    assert there._advance(100) == (False, True)


def test_the_time_for_calls_to_end_comes_from_the_context() -> None:
    strategy, context = tf.distribute.get_strategy(), task_context(save_within=3.0)
    trainer = AsyncTrainer(cast("Job", tf.Module()), strategy, context, cast("Reporter", None), Stop())
    assert trainer._finish == pytest.approx(2.0)
