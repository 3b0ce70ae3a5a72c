"""How often a run starts again, and how long it waits."""

from __future__ import annotations

import pytest

from launcher.supervise.restarts import HEALTHY, Restarts


def pauses(jitter: float, number: int = 8) -> list[float | None]:
    restarts = Restarts(number, jitter=lambda: jitter)
    return [restarts.take(0.0) for _ in range(number)]


def test_each_pause_is_twice_the_last_up_to_half_a_minute() -> None:
    assert pauses(0.5) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_jitter_makes_a_pause_half_as_long_to_half_as_long_again() -> None:
    assert pauses(0.0) == [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert pauses(1.0) == [1.5, 3, 6, 12, 24, 45, 45, 45]


def test_launchers_that_lose_each_other_at_one_moment_do_not_wait_equally_long() -> None:
    first = [Restarts(1).take(0.0) for _ in range(100)]
    assert all(pause is not None and 0.5 <= pause <= 1.5 for pause in first)
    assert len(set(first)) > 50


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_the_budget_is_spent_one_by_one_and_no_further(allowed: int) -> None:
    restarts = Restarts(allowed)
    taken = [restarts.take(0.0) is not None for _ in range(allowed + 2)]
    assert taken == [True] * allowed + [False, False]
    assert restarts.used == allowed


def test_a_restart_says_the_how_manieth_it_is() -> None:
    restarts = Restarts(3)
    restarts.take(0.0)
    restarts.take(0.0)
    assert str(restarts) == "restart 2 of 3"


def test_after_ten_healthy_minutes_the_budget_is_whole_again_and_the_pause_short() -> None:
    restarts = Restarts(2, jitter=lambda: 0.5)
    assert [restarts.take(now) for now in (0.0, 599.0, 600.0)] == [1, 2, None]
    assert restarts.take(599.0 + HEALTHY) == 1
    assert str(restarts) == "restart 1 of 2"


def test_a_restart_that_is_granted_waits_and_spends_nothing() -> None:
    restarts = Restarts(1, jitter=lambda: 0.5)
    assert restarts.grant(0.0) == 1
    assert restarts.take(1.0) == 1
    assert not restarts.left(2.0)
