"""When earlier restarts no longer count, and which workers are left out: recorded histories of hours."""

from __future__ import annotations

import signal

import pytest

from launcher.contract.roles import Quorum, Role
from launcher.contract.task import Task
from launcher.supervise.events import Inspected, Reported, RunState, Signalled, TaskState, Tick
from launcher.supervise.hangs import INSPECTION_GRACE
from launcher.supervise.lost_workers import LostWorkers
from launcher.supervise.restarts import HEALTHY
from tests.unit.supervise.histories import (
    CHIEF,
    EVALUATED,
    EVALUATOR,
    FIRST,
    SECOND,
    SYNC,
    Moments,
    Replay,
    killed,
    obeyed,
    ready,
    replay,
    trained,
)

HOUR = 3600.0
BUDGET = 3


def steps(at: float, seconds: float = 0.0, step: int = 1) -> Moments:
    """The leader makes a step at that time, and another one so many seconds later."""
    first: Moments = [(at, Reported(FIRST, "progress", {"step": step}))]
    return [*first, (at + seconds, Reported(FIRST, "progress", {"step": step + 1}))] if seconds else first


def dies(at: float) -> Moments:
    """One is killed, the other follows, and the pause is over."""
    return [*killed(SECOND, at=at), *obeyed(FIRST, at=at + 1), (at + 60, Tick())]


def hangs(at: float) -> Moments:
    """No step was made for a stall_timeout, both are inspected and end, and the pause is over."""
    found: Moments = [(at, Tick()), (at, Inspected(FIRST)), (at, Inspected(SECOND)), (at + INSPECTION_GRACE, Tick())]
    return [*found, *obeyed(FIRST, SECOND, at=at + 10), (at + 60, Tick())]


# The budget


def test_hangs_of_twenty_minutes_exhaust_the_budget() -> None:
    history: Moments = []
    for began in (hour * HOUR for hour in range(BUDGET + 1)):
        history += [*ready(FIRST, SECOND, at=began + 1), *steps(began + 2), *hangs(began + 2 + 1200)]
    seen = replay(SYNC, history, budget=BUDGET, stall_timeout=1200)
    assert seen.state is RunState.OVER
    assert seen.cause.error.endswith(f"restarts exhausted (run.restarts: {BUDGET})")


def test_attempts_that_die_late_and_before_their_first_step_exhaust_the_budget() -> None:
    history: Moments = [*trained(SYNC), *dies(10)]
    for began in (hour * HOUR for hour in range(1, BUDGET + 1)):
        history += [*ready(FIRST, SECOND, at=began), *dies(began + 2 * HEALTHY)]
    seen = replay(SYNC, history, budget=BUDGET, stall_timeout=HOUR)
    assert seen.supervisor.state is RunState.OVER
    assert seen.supervisor.attempts == {FIRST: 1 + BUDGET, SECOND: 1 + BUDGET}


def test_steps_for_ten_minutes_refill_the_budget() -> None:
    history: Moments = [*trained(SYNC), *dies(10)]
    for began in (hour * HOUR for hour in range(1, 6)):
        history += [*ready(FIRST, SECOND, at=began), *steps(began + 5, HEALTHY), *dies(began + HEALTHY + 6)]
    seen = replay(SYNC, history, budget=1)
    assert seen.supervisor.state is RunState.FORMING
    assert [line.rpartition("(")[2] for line in seen.said if "attempt" in line] == ["restart 1 of 1)"] * 6


def test_a_launcher_whose_tasks_report_no_steps_counts_the_time_of_their_heartbeats() -> None:
    def restarted(at: float) -> Moments:
        return [*killed(FIRST, at=at), (at + 60, Tick()), *ready(FIRST, at=at + 61)]

    lives: Moments = [(80, Reported(FIRST, "alive")), (80 + HEALTHY, Reported(FIRST, "alive"))]
    for between, state in (([], RunState.OVER), (lives, RunState.TRAINING)):
        history: Moments = [*ready(FIRST), *restarted(10), *between, *restarted(HOUR)]
        assert replay({FIRST: Role.COMPUTE}, history, leader=CHIEF, budget=1).state is state


# Workers that are left out


def one_is_enough() -> LostWorkers:
    return LostWorkers(Quorum.of([FIRST, SECOND], 1, FIRST))


@pytest.mark.parametrize(("seconds", "left_out"), [(40 * 60.0, ()), (HEALTHY / 2, (SECOND,))])
def test_a_worker_that_dies_now_and_then_is_not_left_out(seconds: float, left_out: tuple[Task, ...]) -> None:
    history: Moments = []
    for began in (hour * HOUR for hour in range(3)):
        history += [*ready(FIRST, SECOND, at=began + 1), *steps(began + 5, seconds), *dies(began + seconds + 6)]
    seen = replay(SYNC, history, budget=BUDGET, lost_workers=one_is_enough())
    assert seen.supervisor.lost_workers.left_out == left_out


def test_a_worker_that_is_reported_as_left_out_twice_is_left_out_once() -> None:
    reported = Reported(FIRST, "left_out", {"tasks": [str(SECOND)]})
    history: Moments = [(30, reported), (31, reported), (32, Reported(FIRST, "ready"))]
    seen = replay(SYNC, history, lost_workers=one_is_enough())
    why = "worker:1 did not join the rendezvous"
    assert seen.said == [f"{why}; continuing without worker:1, with 1 of 2 workers (cluster.worker.min: 1)"]
    assert seen.supervisor.lost_workers.left_out == (SECOND,)
    assert seen.supervisor.tasks == {FIRST: TaskState.READY, SECOND: TaskState.LEFT_OUT}
    assert seen.kills == [(30, "worker:1", "SIGKILL")]
    assert seen.state is RunState.TRAINING


# What is expected before all have ended

REFILLED: Moments = [
    *trained(EVALUATED),
    *dies(10),
    *ready(FIRST, SECOND, at=100),
    *steps(105, HEALTHY),
    *killed(SECOND, at=HOUR),
]
SPARED: Moments = [*trained(EVALUATED), *killed(SECOND, at=HOUR)]


@pytest.mark.parametrize(
    ("history", "budget", "fewest"), [(REFILLED, 1, 0), (SPARED, 0, 1)], ids=["budget refilled", "worker left out"]
)
def test_an_evaluator_is_kept_if_the_others_will_restart_and_ctrl_c_then_is_no_failure(
    history: Moments, budget: int, fewest: int
) -> None:
    def outcome(history: Moments) -> Replay:
        lost_workers = LostWorkers(Quorum.of([FIRST, SECOND], fewest, FIRST))
        return replay(EVALUATED, history, budget=budget, lost_workers=lost_workers)

    seen = outcome(history)
    assert [kill for kill in seen.kills if kill[0] == HOUR] == [(HOUR, "worker:0", "SIGTERM")]
    assert seen.supervisor.tasks[EVALUATOR] is TaskState.READY
    assert outcome([*history, (HOUR + 0.5, Signalled(signal.SIGINT))]).supervisor.cause is None
