"""When restarts of long ago no longer count: the Supervisor by recorded histories of hours."""

from __future__ import annotations

import signal

from launcher.contract.roles import Quorum, Role
from launcher.supervise.elastic import Elastic
from launcher.supervise.events import Exited, RunState, Seen, Signalled, TaskState, Tick, Told
from launcher.supervise.hangs import LOOK_GRACE
from launcher.supervise.restarts import HEALTHY
from tests.unit.supervise.histories import (
    CHIEF,
    EVALUATED,
    EVALUATOR,
    FIRST,
    SECOND,
    SYNC,
    Moments,
    ready,
    replay,
    trained,
)

HOUR = 3600.0
BUDGET = 3


def steps(at: float, seconds: float = 0.0, step: int = 1) -> Moments:
    """The leader makes a step at that time, and another one so many seconds later."""
    first: Moments = [(at, Told(FIRST, "progress", {"step": step}))]
    return [*first, (at + seconds, Told(FIRST, "progress", {"step": step + 1}))] if seconds else first


def killed(at: float) -> Moments:
    """One is killed, the other follows, and the pause is over."""
    return [(at, Exited(SECOND, -9)), (at + 1, Exited(FIRST, -15)), (at + 60, Tick())]


def stalled(at: float) -> Moments:
    """Nothing has moved for a stall_timeout, both are looked at and end, and the pause is over."""
    looked: Moments = [(at, Tick()), (at, Seen(FIRST)), (at, Seen(SECOND)), (at + LOOK_GRACE, Tick())]
    return [*looked, (at + 10, Exited(FIRST, -15)), (at + 10, Exited(SECOND, -15)), (at + 60, Tick())]


# The budget


def test_stalls_of_twenty_minutes_use_the_budget_up() -> None:
    history: Moments = []
    for began in (hour * HOUR for hour in range(BUDGET + 1)):
        history += [*ready(FIRST, SECOND, at=began + 1), *steps(began + 2), *stalled(began + 2 + 1200)]
    supervisor = replay(SYNC, FIRST, history, budget=BUDGET, stall_timeout=1200).supervisor
    assert supervisor.state is RunState.OVER
    assert supervisor.cause is not None
    assert supervisor.cause.error.endswith(f"run.restarts ({BUDGET}) are used up")


def test_attempts_that_die_late_and_before_their_first_step_use_the_budget_up() -> None:
    history: Moments = [*trained(SYNC, FIRST), *killed(10)]
    for began in (hour * HOUR for hour in range(1, BUDGET + 1)):
        history += [*ready(FIRST, SECOND, at=began), *killed(began + 2 * HEALTHY)]
    seen = replay(SYNC, FIRST, history, budget=BUDGET, stall_timeout=HOUR)
    assert seen.supervisor.state is RunState.OVER
    assert seen.supervisor.attempts == {FIRST: 1 + BUDGET, SECOND: 1 + BUDGET}


def test_steps_for_ten_minutes_make_the_budget_whole_again() -> None:
    history: Moments = [*trained(SYNC, FIRST), *killed(10)]
    for began in (hour * HOUR for hour in range(1, 6)):
        history += [*ready(FIRST, SECOND, at=began), *steps(began + 5, HEALTHY), *killed(began + HEALTHY + 6)]
    seen = replay(SYNC, FIRST, history, budget=1)
    assert seen.supervisor.state is RunState.FORMING
    assert [line.rpartition("(")[2] for line in seen.said] == ["restart 1 of 1)"] * 6


def test_a_launcher_whose_tasks_tell_of_no_steps_counts_the_time_in_which_they_live() -> None:
    def dies(at: float) -> Moments:
        return [(at, Exited(FIRST, -9)), (at + 60, Tick()), *ready(FIRST, at=at + 61)]

    history: Moments = [*ready(FIRST), *dies(10), *dies(HOUR)]
    assert replay({FIRST: Role.COMPUTE}, CHIEF, history, budget=1).supervisor.state is RunState.OVER
    lives: Moments = [(80, Told(FIRST, "alive")), (80 + HEALTHY, Told(FIRST, "alive"))]
    healthy: Moments = [*ready(FIRST), *dies(10), *lives, *dies(HOUR)]
    assert replay({FIRST: Role.COMPUTE}, CHIEF, healthy, budget=1).supervisor.state is RunState.TRAINING


# Who is left out


def test_a_worker_that_dies_now_and_then_is_not_left_out() -> None:
    for seconds, left_out in ((40 * 60.0, ()), (HEALTHY / 2, (SECOND,))):
        history: Moments = []
        for began in (hour * HOUR for hour in range(3)):
            history += [*ready(FIRST, SECOND, at=began + 1), *steps(began + 5, seconds), *killed(began + seconds + 6)]
        crew = Elastic(Quorum.of([FIRST, SECOND], 1, FIRST))
        assert replay(SYNC, FIRST, history, budget=BUDGET, elastic=crew).supervisor.elastic.left_out == left_out


# What is expected before all have ended

HEALTHY_AGAIN: Moments = [
    *trained(EVALUATED, FIRST),
    *killed(10),
    *ready(FIRST, SECOND, at=100),
    *steps(105, HEALTHY),
    (HOUR, Exited(SECOND, -9)),
]


def test_an_evaluator_is_spared_where_the_budget_is_whole_again() -> None:
    seen = replay(EVALUATED, FIRST, HEALTHY_AGAIN, budget=1)
    assert [kill for kill in seen.kills if kill[0] == HOUR] == [(HOUR, "worker:0", "SIGTERM")]
    assert seen.supervisor.tasks[EVALUATOR] is TaskState.READY


def test_ctrl_c_stops_a_run_whose_budget_is_whole_again_and_does_not_make_it_a_failed_one() -> None:
    interrupted: Moments = [*HEALTHY_AGAIN, (HOUR, Signalled(signal.SIGINT))]
    assert replay(EVALUATED, FIRST, interrupted, budget=1).supervisor.cause is None


def test_a_run_that_goes_on_without_a_worker_spares_its_evaluator_and_is_stopped_by_ctrl_c() -> None:
    died: Moments = [*trained(EVALUATED, FIRST), (10, Exited(SECOND, -9))]
    seen = replay(EVALUATED, FIRST, died, elastic=Elastic(Quorum.of([FIRST, SECOND], 1, FIRST)))
    assert seen.kills == [(10, "worker:0", "SIGTERM")]
    interrupted: Moments = [*died, (10.5, Signalled(signal.SIGINT))]
    seen = replay(EVALUATED, FIRST, interrupted, elastic=Elastic(Quorum.of([FIRST, SECOND], 1, FIRST)))
    assert seen.supervisor.cause is None
