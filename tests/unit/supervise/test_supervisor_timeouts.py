"""What the Supervisor does if a cluster does not form in time, or hangs: recorded histories."""

from __future__ import annotations

import pytest

from launcher.contract.roles import Role
from launcher.supervise.causes import Cause
from launcher.supervise.events import Exited, Inspect, Inspected, Reported, Tick
from launcher.supervise.hangs import FOLLOWER_GRACE, INSPECTION_GRACE
from launcher.supervise.supervisor import FORMING_GRACE
from tests.unit.supervise.histories import FIRST, SECOND, SYNC, Moments, error, obeyed, ready, replay

LATE = 60 + FORMING_GRACE
NOT_READY = "not ready after 60 s (run.start_timeout): worker:1"


# start_timeout


def test_a_task_that_is_never_ready_is_inspected_and_named_after_the_start_timeout() -> None:
    inspected: Moments = [(LATE + 1, Inspected(FIRST)), (LATE + 1, Inspected(SECOND)), (LATE + 1, Tick())]
    seen = replay(SYNC, [*ready(FIRST), (59, Tick()), (LATE, Tick()), *inspected])
    assert [action for _, action in seen.actions if isinstance(action, Inspect)] == [
        Inspect(FIRST),
        Inspect(SECOND, can_answer=False),  # a Python that is still starting would die of the question
    ]
    assert seen.cause == Cause(SECOND, NOT_READY, exit_code=3)
    assert seen.kills == [(LATE + 1, "worker:0", "SIGTERM"), (LATE + 1, "worker:1", "SIGTERM")]


def test_a_suspended_task_is_what_the_late_ones_wait_for() -> None:
    inspected: Moments = [(LATE, Inspected(FIRST, suspended=True)), (LATE, Inspected(SECOND))]
    seen = replay(SYNC, [*ready(FIRST), (LATE, Tick()), *inspected])
    error = f"{NOT_READY}; suspended by a signal (SIGSTOP or Ctrl-Z): worker:0"
    assert seen.cause == Cause(FIRST, error, exit_code=3)


def test_a_task_that_gives_up_the_rendezvous_brings_its_exit_code() -> None:
    assert replay(SYNC, [(60, Exited(FIRST, 3, error("FormationError", code=3)))]).cause.exit_code == 3


# stall_timeout


def test_no_step_for_the_stall_timeout_is_a_failure_and_progress_puts_it_off() -> None:
    moving = [*ready(FIRST, SECOND), (200, Reported(FIRST, "progress", {"step": 1})), (400, Tick())]
    assert replay(SYNC, moving).kills == []
    seen = replay(SYNC, [*moving, (500, Tick()), (500 + INSPECTION_GRACE, Tick()), (500 + INSPECTION_GRACE, Tick())])
    assert len(seen.kills) == 2
    assert seen.cause.error.startswith("no step for 300 s (run.stall_timeout): ")


def test_a_hang_before_the_first_step_is_not_retried() -> None:
    hang: Moments = [(301, Tick()), (301, Inspected(SECOND, suspended=True)), (306, Tick())]
    seen = replay(SYNC, [*ready(FIRST, SECOND), *hang, *obeyed(FIRST, SECOND, at=307), (310, Tick())], budget=3)
    how = "worker:1 is suspended by a signal (SIGSTOP or Ctrl-Z); the logs have the stacks of all threads"
    assert seen.failure == ("worker:1", f"no step for 300 s (run.stall_timeout): {how}", 1)


def test_a_long_report_after_the_last_step_is_not_a_hang() -> None:
    history = [*ready(FIRST, SECOND), (2, Reported(FIRST, "result", {})), (900, Tick())]
    assert replay(SYNC, history).kills == []


@pytest.mark.parametrize("role", [Role.TRAIN, Role.COMPUTE, Role.SERVE, Role.EVALUATE])
def test_a_suspended_task_is_found_later_if_the_leader_runs_elsewhere(role: Role) -> None:
    late = 1 + 300 + FOLLOWER_GRACE
    inspected: Moments = [(late, Inspected(SECOND, suspended=True)), (late, Tick())]
    seen = replay({SECOND: role}, [*ready(SECOND), (late - 1, Tick()), (late, Tick()), *inspected], leader=FIRST)
    assert seen.cause.task == SECOND
    assert seen.kills == [(late, "worker:1", "SIGTERM")]


def test_a_task_without_steps_whose_heartbeats_arrive_does_not_hang() -> None:
    alive: Moments = [(float(second), Reported(SECOND, "alive")) for second in range(5, 2000, 5)]
    assert replay({SECOND: Role.COMPUTE}, [*ready(SECOND), *alive], leader=FIRST).kills == []
