"""Which worker a run continues without, and when."""

from __future__ import annotations

import pytest

from launcher.contract.roles import Quorum
from launcher.contract.task import Task
from launcher.supervise.causes import Cause
from launcher.supervise.lost_workers import LostWorkers

FIRST, SECOND, THIRD = (Task("worker", index) for index in range(3))


def workers(fewest: int = 2) -> LostWorkers:
    return LostWorkers(Quorum.of([FIRST, SECOND, THIRD], fewest, FIRST))


def killed(task: Task) -> Cause:
    return Cause(task, "killed by SIGKILL", retryable=True)


def test_three_failures_in_a_row_make_a_worker_lost() -> None:
    lost_workers = workers()
    left_out = []
    for _ in range(3):
        lost_workers.note_failure(THIRD)
        left_out.append(lost_workers.should_leave_out(killed(THIRD), restarts_left=True))
    assert left_out == [False, False, True]


def test_a_failure_of_another_task_between_them_starts_the_count_again() -> None:
    lost_workers = workers()
    for task in (THIRD, THIRD, SECOND, THIRD):
        lost_workers.note_failure(task)
    assert not lost_workers.should_leave_out(killed(THIRD), restarts_left=True)


def test_if_no_restart_is_left_one_failure_is_enough() -> None:
    assert workers().should_leave_out(killed(THIRD), restarts_left=False)


def test_a_worker_whose_devices_are_gone_is_lost_at_once() -> None:
    assert workers().should_leave_out(Cause(THIRD, "no GPU", misplaced=True), restarts_left=True)


def test_the_task_that_a_failure_began_with_is_left_out() -> None:
    cause = Cause(FIRST, "worker:2 went away", consequence=True, retryable=True, peer=THIRD)
    assert workers().should_leave_out(cause, restarts_left=False)


@pytest.mark.parametrize(
    ("fewest", "cause"),
    [
        (0, killed(THIRD)),  # every worker is needed
        (3, killed(THIRD)),
        (2, killed(FIRST)),  # the leader
        (2, killed(Task("ps", 0))),
        (2, Cause(THIRD, "ValueError: no", from_training_code=True)),  # the others would fail in the same way
    ],
)
def test_no_other_worker_is_left_out(fewest: int, cause: Cause) -> None:
    assert not workers(fewest).should_leave_out(cause, restarts_left=False)


def test_no_more_are_left_out_than_may_be_missing() -> None:
    lost_workers = workers()
    assert lost_workers.leave_out(THIRD) == "continuing without worker:2, with 2 of 3 workers (cluster.worker.min: 2)"
    assert lost_workers.left_out == (THIRD,)
    assert not lost_workers.should_leave_out(killed(SECOND), restarts_left=False)
