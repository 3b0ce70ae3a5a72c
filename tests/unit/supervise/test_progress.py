"""How far tasks have come, who is behind, and who is slow."""

from __future__ import annotations

import pytest

from launcher.supervise.events import Cause, Seen, Told
from launcher.supervise.progress import Progress, Recovery
from launcher.supervise.stragglers import Pace
from tests.unit.supervise.histories import CHIEF, FIRST, PS, SECOND


def progress(*steps: int) -> Progress:
    """Both workers have reported these steps."""
    told = Progress(FIRST, (FIRST, SECOND))
    for task, step in zip((FIRST, SECOND), steps, strict=False):
        told.told(task, {"step": step}, 1.0)
    return told


def test_a_step_that_is_told_again_is_no_progress() -> None:
    told = progress(10, 10)
    assert not told.told(FIRST, {"step": 10}, 5.0)
    assert told.moved_at == 1.0
    assert told.told(SECOND, {"step": 20}, 6.0)
    assert (told.moved_at, told.step, told.latest, told.first_step_at) == (6.0, 20, {"step": 10}, 1.0)


def test_the_next_attempt_begins_at_its_checkpoint() -> None:
    told = progress(10, 10)
    told.begin(7.0)
    told.resumed(5)
    assert (told.step, told.moved_at) == (5, 7.0)
    assert told.told(FIRST, {"step": 8}, 8.0)


@pytest.mark.parametrize(
    ("steps", "looks", "culprit"),
    [
        ((20, 20), [Seen(FIRST), Seen(SECOND, stands_still=True)], "worker:1 stands still, stopped by a signal"),
        ((20, 10), [Seen(FIRST), Seen(SECOND)], "worker:1 is behind, at step 10 of 20"),
        ((20,), [Seen(FIRST), Seen(SECOND)], "worker:1 is behind, at step 0 of 20"),
        (
            (20, 10),
            [Seen(FIRST), Seen(SECOND, where="train.py:3 (evaluate)")],
            "worker:1 is behind, at step 10 of 20, in train.py:3 (evaluate)",
        ),
        (
            (20, 20),
            [Seen(FIRST), Seen(SECOND, where="train.py:12 (dataset)")],
            "the others wait for worker:1, which is in train.py:12 (dataset)",
        ),
        ((20, 20), [Seen(FIRST), Seen(SECOND)], "every task is at step 20; nobody is behind worker:0"),
        (
            (20, 20),
            [Seen(FIRST, where="train.py:1 (step)"), Seen(SECOND, where="train.py:1 (step)")],
            "every task is at step 20; nobody is behind worker:0, which is in train.py:1 (step)",
        ),
    ],
)
def test_where_nothing_moves_whoever_the_others_wait_for_is_named(
    steps: tuple[int, ...], looks: list[Seen], culprit: str
) -> None:
    task, how = progress(*steps).culprit({look.task: look for look in looks})
    assert how == culprit
    assert str(task) in how


@pytest.mark.parametrize(
    ("busy", "chief", "culprit"),
    [
        (["worker:1"], "", "worker:1 has not come to the end of its call, and no other is in one"),
        (["worker:0", "worker:1"], "", "every task is at step 20; nobody is behind chief:0"),
        (["worker:1"], "train.py:3 (evaluate)", "the others wait for chief:0, which is in train.py:3 (evaluate)"),
    ],
)
def test_the_only_asynchronous_worker_in_the_middle_of_a_call_is_the_one(
    busy: list[str], chief: str, culprit: str
) -> None:
    told = Progress(CHIEF, (CHIEF,))
    told.told(CHIEF, {"step": 20}, 1.0)
    told.noted(Told(CHIEF, "busy", {"workers": busy}), 2.0)
    looks = [Seen(CHIEF, where=chief), Seen(FIRST), Seen(SECOND), Seen(PS)]
    task, how = told.culprit({look.task: look for look in looks})
    assert how == culprit
    assert str(task) in how


def test_where_nobody_makes_steps_the_sign_of_life_that_is_the_oldest_counts() -> None:
    told = Progress(CHIEF)
    told.begin(10.0)
    assert told.last_moved([FIRST, PS]) == 10.0
    told.noted(Told(FIRST, "alive"), 70.0)
    told.noted(Told(PS, "alive"), 15.0)
    assert told.last_moved([FIRST, PS]) == 15.0
    assert told.last_moved([FIRST]) == 70.0
    assert told.culprit({FIRST: Seen(FIRST), PS: Seen(PS)}) == (PS, "ps:0 has not said that it lives")


def test_who_trains_goes_on_until_all_have_made_their_last_step() -> None:
    told = progress(10, 10)
    told.noted(Told(FIRST, "finished"), 2.0)
    assert told.goes_on
    told.noted(Told(SECOND, "finished"), 2.0)
    assert not told.goes_on
    told.begin(3.0)
    assert told.goes_on


def test_a_restart_costs_the_steps_since_its_checkpoint_and_the_time_until_training_goes_on() -> None:
    cause = Cause(SECOND, "killed by SIGKILL")
    together = Recovery(cause, since=10.0, step=340).costs(resumed_at=300, now=14.5)
    assert together == {"culprit": "worker:1", "lost_steps": 40, "resumed_at": 300, "seconds": 4.5}
    alone = Recovery(cause, since=10.0, step=340, task=SECOND).costs(resumed_at=300, now=12.0)
    assert alone == {"culprit": "worker:1", "lost_steps": 0, "seconds": 2.0}


def warnings(own: float, seconds: int, wall: float = 0.01) -> list[str]:
    """Report every second how long a step takes worker:1, and the others 4 ms; a step takes ``wall`` seconds in all."""
    pace = Pace(60)
    steps = int(1 / wall)
    said = [
        pace.told({"worker:0": 0.004, "worker:1": own, "worker:2": 0.004}, now * steps, float(now))
        for now in range(seconds)
    ]
    return [line for line in said if line]


def test_a_worker_that_takes_twice_as_long_for_a_minute_is_named_once() -> None:
    assert warnings(0.009, 180) == ["worker:1 is slow: its own part of a step takes 9 ms, that of the others 4 ms"]


@pytest.mark.parametrize(
    ("own", "seconds", "wall"), [(0.009, 60, 0.01), (0.0079, 180, 0.01), (0.009, 180, 0.05), (0.004, 180, 0.01)]
)
def test_nobody_is_named_for_less(own: float, seconds: int, wall: float) -> None:
    assert warnings(own, seconds, wall) == []
