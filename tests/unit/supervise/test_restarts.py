"""How often a run starts again, and how long it waits."""

from __future__ import annotations

import pytest

from launcher.supervise.restarts import HEALTHY, Restarts


def pauses(jitter: float, number: int = 8) -> list[float | None]:
    restarts = Restarts(number, jitter=lambda: jitter)
    return [restarts.take() for _ in range(number)]


def test_each_pause_is_twice_the_last_up_to_half_a_minute() -> None:
    assert pauses(0.5) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_jitter_makes_a_pause_half_as_long_to_half_as_long_again() -> None:
    assert pauses(0.0) == [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert pauses(1.0) == [1.5, 3, 6, 12, 24, 45, 45, 45]


def test_launchers_that_lose_each_other_at_one_moment_do_not_wait_equally_long() -> None:
    first = [Restarts(1).take() for _ in range(100)]
    assert all(pause is not None and 0.5 <= pause <= 1.5 for pause in first)
    assert len(set(first)) > 50


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_the_budget_is_spent_one_by_one_and_no_further(allowed: int) -> None:
    restarts = Restarts(allowed)
    taken = [restarts.take() is not None for _ in range(allowed + 2)]
    assert taken == [True] * allowed + [False, False]
    assert restarts.used == allowed


def test_a_restart_says_the_how_manieth_it_is() -> None:
    restarts = Restarts(3)
    restarts.take()
    restarts.take()
    assert str(restarts) == "restart 2 of 3"


def test_after_ten_minutes_of_steps_the_budget_is_whole_again_and_the_pause_short() -> None:
    restarts = Restarts(2, jitter=lambda: 0.5)
    assert [restarts.take(), restarts.take(), restarts.take()] == [1, 2, None]
    assert [restarts.trains(now) for now in (100.0, 99.0 + HEALTHY)] == [False, False]
    assert restarts.take() is None
    assert restarts.trains(100.0 + HEALTHY)
    assert restarts.take() == 1
    assert str(restarts) == "restart 1 of 2"


def test_time_in_which_no_step_is_made_does_not_make_the_budget_whole() -> None:
    restarts = Restarts(1)
    restarts.trains(0.0)
    restarts.take()
    assert not restarts.trains(2 * HEALTHY)  # the first step after the restart
    assert not restarts.left


def test_a_restart_that_is_granted_waits_and_spends_nothing() -> None:
    restarts = Restarts(1, jitter=lambda: 0.5)
    assert restarts.grant() == 1
    assert restarts.take() == 1
    assert not restarts.left
