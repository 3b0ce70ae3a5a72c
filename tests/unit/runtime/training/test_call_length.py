"""How many steps make one call: what the job says, or what takes about a second."""

from __future__ import annotations

import pytest

from launcher.runtime.training.call_length import CallLength


@pytest.mark.parametrize(
    ("of_a_step", "expected"),
    [(0.001, [1, 4, 16, 64, 256, 1000, 1000]), (0.3, [1, 3, 3, 3, 3, 3, 3]), (5.0, [1, 1, 1, 1, 1, 1, 1])],
)
def test_calls_grow_until_they_take_about_a_second(of_a_step: float, expected: list[int]) -> None:
    length, seen = CallLength(), []
    for _ in expected:
        seen.append(length.steps)
        length.took(length.steps, length.steps * of_a_step)
    assert seen == pytest.approx(expected, abs=1)


def test_calls_shrink_at_once_if_steps_become_slow() -> None:
    length = CallLength()
    for _ in range(6):
        length.took(length.steps, length.steps * 0.001)
    length.took(1000, 3000.0)
    assert length.steps == 1


def test_a_call_that_was_cut_short_changes_nothing_unless_it_was_slow() -> None:
    length = CallLength()
    for _ in range(3):
        length.took(length.steps, 0.001)
    length.took(1, 0.5)
    assert length.steps == 64
    length.took(10, 5.0)
    assert length.steps == 2


def test_what_the_job_says_is_kept() -> None:
    length = CallLength(170)
    length.took(170, 3600.0)
    assert length.steps == 170
