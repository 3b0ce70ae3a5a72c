"""How far tasks have come, and which one the others wait for."""

from __future__ import annotations

import pytest

from launcher.contract.task import Task
from launcher.supervise.events import Inspected, Reported
from launcher.supervise.progress import Progress
from tests.unit.supervise.histories import CHIEF, FIRST, PS, SECOND


def progress(*steps: int) -> Progress:
    """Both workers have reported these steps."""
    reported = Progress(FIRST, (FIRST, SECOND))
    for task, step in zip((FIRST, SECOND), steps, strict=False):
        reported.report(task, {"step": step}, 1.0)
    return reported


def test_a_step_that_is_reported_again_is_no_progress() -> None:
    reported = progress(10, 10)
    assert not reported.report(FIRST, {"step": 10}, 5.0)
    assert reported.last_step_at == 1.0
    assert reported.report(SECOND, {"step": 20}, 6.0)
    assert (reported.last_step_at, reported.step, reported.latest, reported.first_step_at) == (
        6.0,
        20,
        {"step": 10},
        1.0,
    )


def test_the_next_attempt_begins_at_its_checkpoint() -> None:
    reported = progress(10, 10)
    reported.begin(7.0)
    reported.resume(5)
    assert (reported.step, reported.last_step_at) == (5, 7.0)
    assert reported.report(FIRST, {"step": 8}, 8.0)


NOT_TRACED = "all tasks are at step 20, so none of them can be named as the cause"


@pytest.mark.parametrize(
    ("steps", "findings", "culprit", "how"),
    [
        (
            (20, 20),
            [Inspected(FIRST), Inspected(SECOND, suspended=True)],
            SECOND,
            "worker:1 is suspended by a signal (SIGSTOP or Ctrl-Z)",
        ),
        ((20, 10), [Inspected(FIRST), Inspected(SECOND)], SECOND, "worker:1 is behind, at step 10 of 20"),
        ((20,), [Inspected(FIRST), Inspected(SECOND)], SECOND, "worker:1 is behind, at step 0 of 20"),
        (
            (20, 10),
            [Inspected(FIRST), Inspected(SECOND, where="train.py:3 (evaluate)")],
            SECOND,
            "worker:1 is behind, at step 10 of 20, in train.py:3 (evaluate)",
        ),
        (
            (20, 20),
            [Inspected(FIRST), Inspected(SECOND, where="train.py:12 (dataset)")],
            SECOND,
            "the others wait for worker:1, which is in train.py:12 (dataset)",
        ),
        ((20, 20), [Inspected(FIRST), Inspected(SECOND)], FIRST, NOT_TRACED),
        (
            (20, 20),
            [Inspected(FIRST, where="train.py:1 (step)"), Inspected(SECOND, where="train.py:1 (step)")],
            FIRST,
            f"{NOT_TRACED}; worker:0 is in train.py:1 (step)",
        ),
    ],
)
def test_the_culprit_is_the_task_that_the_others_wait_for(
    steps: tuple[int, ...], findings: list[Inspected], culprit: Task, how: str
) -> None:
    assert progress(*steps).culprit({found.task: found for found in findings}) == (culprit, how)


@pytest.mark.parametrize(
    ("busy", "chief", "culprit", "how"),
    [
        (["worker:1"], "", SECOND, "worker:1 has not finished its current steps; no other worker is busy"),
        (["worker:0", "worker:1"], "", CHIEF, NOT_TRACED),
        (["worker:1"], "train.py:3 (eval)", CHIEF, "the others wait for chief:0, which is in train.py:3 (eval)"),
    ],
)
def test_the_only_busy_asynchronous_worker_is_the_culprit(busy: list[str], chief: str, culprit: Task, how: str) -> None:
    reported = Progress(CHIEF, (CHIEF,))
    reported.report(CHIEF, {"step": 20}, 1.0)
    reported.note(Reported(CHIEF, "busy", {"workers": busy}), 2.0)
    findings = [Inspected(CHIEF, where=chief), Inspected(FIRST), Inspected(SECOND), Inspected(PS)]
    assert reported.culprit({found.task: found for found in findings}) == (culprit, how)


def test_if_no_task_makes_steps_the_oldest_of_the_last_heartbeats_counts() -> None:
    reported = Progress(CHIEF)
    reported.begin(10.0)
    assert reported.last_activity([FIRST, PS]) == 10.0
    reported.note(Reported(FIRST, "alive"), 70.0)
    reported.note(Reported(PS, "alive"), 15.0)
    assert reported.last_activity([FIRST, PS]) == 15.0
    assert reported.last_activity([FIRST]) == 70.0
    assert reported.culprit({FIRST: Inspected(FIRST), PS: Inspected(PS)}) == (PS, "no heartbeat from ps:0")


def test_steps_are_left_until_all_tasks_that_train_have_made_their_last() -> None:
    reported = progress(10, 10)
    reported.note(Reported(FIRST, "finished"), 2.0)
    assert reported.has_steps_left
    reported.note(Reported(SECOND, "finished"), 2.0)
    assert not reported.has_steps_left
    reported.begin(3.0)
    assert reported.has_steps_left
