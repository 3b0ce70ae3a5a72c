"""Which worker a run goes on without, and when."""

from __future__ import annotations

import pytest

from launcher.contract.roles import Quorum
from launcher.contract.task import Task
from launcher.supervise.elastic import Elastic
from launcher.supervise.events import Cause

FIRST, SECOND, THIRD = (Task("worker", index) for index in range(3))


def elastic(fewest: int = 2) -> Elastic:
    return Elastic(Quorum.of([FIRST, SECOND, THIRD], fewest, FIRST))


def killed(task: Task) -> Cause:
    return Cause(task, "killed by SIGKILL", mendable=True)


def test_three_failures_in_a_row_make_a_worker_lost() -> None:
    crew = elastic()
    given_up = []
    for _ in range(3):
        crew.blame(THIRD)
        given_up.append(crew.gives_up(killed(THIRD), restarts_left=True))
    assert given_up == [False, False, True]


def test_another_s_failure_between_them_begins_the_row_anew() -> None:
    crew = elastic()
    for task in (THIRD, THIRD, SECOND, THIRD):
        crew.blame(task)
    assert not crew.gives_up(killed(THIRD), restarts_left=True)


def test_where_no_restart_is_left_one_failure_is_enough() -> None:
    assert elastic().gives_up(killed(THIRD), restarts_left=False)


def test_a_worker_whose_devices_are_gone_is_lost_at_once() -> None:
    assert elastic().gives_up(Cause(THIRD, "no GPU", misplaced=True), restarts_left=True)


def test_whoever_the_failure_goes_back_to_is_meant() -> None:
    cause = Cause(FIRST, "worker:2 went away", consequence=True, mendable=True, peer=THIRD)
    assert elastic().gives_up(cause, restarts_left=False)


@pytest.mark.parametrize(
    ("fewest", "cause"),
    [
        (0, killed(THIRD)),  # every worker is needed
        (3, killed(THIRD)),
        (2, killed(FIRST)),  # the leader
        (2, killed(Task("ps", 0))),
        (2, Cause(THIRD, "ValueError: no", own=True)),  # the others would fail so too
    ],
)
def test_nobody_else_is_left_out(fewest: int, cause: Cause) -> None:
    assert not elastic(fewest).gives_up(cause, restarts_left=False)


def test_no_more_are_left_out_than_can_be_spared() -> None:
    crew = elastic()
    assert crew.leave_out(THIRD) == "going on without worker:2, with 2 of 3 workers (cluster.worker.min: 2)"
    assert crew.left_out == (THIRD,)
    assert not crew.gives_up(killed(SECOND), restarts_left=False)
