"""Who comes late: tasks that wait to start again, or die, while the run ends or starts again as a whole."""

from __future__ import annotations

from launcher.contract.roles import Quorum
from launcher.contract.task import Task
from launcher.supervise.elastic import Elastic
from launcher.supervise.events import Exited, Kill, RunState, TaskState, Tick, Told
from launcher.supervise.supervisor import LEAVE_GRACE
from tests.unit.supervise.histories import (
    ASYNC,
    CHIEF,
    EVALUATED,
    EVALUATOR,
    FIRST,
    PS,
    SECOND,
    SYNC,
    Moments,
    error,
    replay,
    trained,
)


def test_a_run_whose_leader_is_done_is_not_started_again() -> None:
    end = 4 + LEAVE_GRACE
    history: Moments = [
        *trained(ASYNC, CHIEF),
        (3, Told(CHIEF, "result", {"steps": 1})),
        (4, Exited(CHIEF, 0)),
        (5, Exited(PS, 0)),
        (end, Tick()),
        (end, Tick()),
        (end + 1, Exited(FIRST, 1, error("UnavailableError", consequence=True))),
    ]
    seen = replay(ASYNC, CHIEF, history, budget=3)
    assert seen.supervisor.state is RunState.OVER
    assert seen.supervisor.done


def test_a_lone_restart_that_waits_is_dropped_when_the_cluster_stops() -> None:
    history: Moments = [
        *trained(ASYNC, CHIEF),
        (10, Exited(FIRST, -9)),  # its pause is 8 s, since three are used
        (11, Exited(PS, -9)),
        (11, Exited(CHIEF, -15)),
        *[(float(second), Tick()) for second in range(12, 60)],
    ]
    seen = replay(ASYNC, CHIEF, history, budget=8, used=3)
    assert [(task, attempt) for _, task, attempt in seen.restarts] == [(CHIEF, 2), (FIRST, 2), (PS, 2)]
    assert seen.supervisor.state is RunState.FORMING


def test_a_lone_restart_that_waits_does_not_come_after_the_end() -> None:
    roles = EVALUATED
    history: Moments = [
        *trained(roles, FIRST),
        (10, Exited(EVALUATOR, -9)),  # its pause is 8 s, since three are used
        (11, Exited(FIRST, 1, error("ValueError", consequence=False))),
        (11, Exited(SECOND, -15)),
        *[(float(second), Tick()) for second in range(12, 100)],
    ]
    seen = replay(roles, FIRST, history, budget=8, used=3)
    assert seen.restarts == []
    assert seen.supervisor.state is RunState.OVER


def test_that_the_budget_is_used_up_is_said_once() -> None:
    roles = EVALUATED
    history: Moments = [
        *trained(roles, FIRST),
        (10, Exited(FIRST, -9)),
        (10, Exited(SECOND, -15)),
        (10.1, Tick()),
        (10.2, Tick()),
        (11, Exited(EVALUATOR, -15)),
    ]
    seen = replay(roles, FIRST, history, budget=1, used=1)
    assert seen.supervisor.cause is not None
    assert seen.supervisor.cause.error == "killed by SIGKILL; run.restarts (1) are used up"


def test_an_evaluator_that_dies_while_the_gang_waits_starts_again() -> None:
    roles = EVALUATED
    history: Moments = [
        *trained(roles, FIRST),
        (10, Exited(FIRST, -9)),
        (10, Exited(SECOND, -15)),
        (10.5, Exited(EVALUATOR, -9)),
        *[(float(second), Tick()) for second in range(11, 30)],
    ]
    seen = replay(roles, FIRST, history, budget=3)
    assert seen.supervisor.tasks[EVALUATOR] is TaskState.STARTED


def test_an_evaluator_that_dies_with_the_gang_starts_again() -> None:
    roles = EVALUATED
    history: Moments = [
        *trained(roles, FIRST),
        (10, Exited(FIRST, -9)),
        (10, Exited(EVALUATOR, -9)),
        (10, Exited(SECOND, -15)),
        *[(float(second), Tick()) for second in range(11, 30)],
    ]
    seen = replay(roles, FIRST, history, budget=3)
    assert seen.supervisor.tasks[EVALUATOR] is TaskState.STARTED


def test_a_task_that_left_before_the_cluster_formed_does_not_break_the_start_timeout() -> None:
    roles = SYNC
    history: Moments = [
        (1, Told(FIRST, "ready")),
        (1, Exited(SECOND, 0)),  # its leader is on another machine
        (80, Tick()),
    ]
    seen = replay(roles, Task("chief", 0), history, budget=3)
    assert seen.supervisor.state is not RunState.OVER


def test_steps_that_are_made_again_after_a_restart_are_progress() -> None:
    history: Moments = [
        *trained(SYNC, FIRST),
        (250, Told(FIRST, "progress", {"step": 1000})),
        (260, Exited(SECOND, -9)),
        (260, Exited(FIRST, -15)),
        (262, Tick()),
        (263, Told(FIRST, "ready")),
        (263, Told(SECOND, "ready")),
        (400, Told(FIRST, "progress", {"step": 300})),
        (563, Told(FIRST, "progress", {"step": 600})),
        (563, Tick()),
    ]
    seen = replay(SYNC, FIRST, history, budget=3)
    assert [a for now, a in seen.actions if isinstance(a, Kill) and now > 263] == []
    assert seen.supervisor.state is RunState.TRAINING


def test_the_worker_pending_when_the_chief_is_done_is_not_started_for_nothing() -> None:
    history: Moments = [
        *trained(ASYNC, CHIEF),
        (10, Exited(FIRST, -9)),
        (11, Told(CHIEF, "result", {"steps": 1})),
        (11, Exited(CHIEF, 0)),
        (11, Exited(PS, 0)),
        *[(float(second), Tick()) for second in range(12, 100)],
    ]
    seen = replay(ASYNC, CHIEF, history, budget=8, used=5)
    assert seen.restarts == []
    assert seen.supervisor.state is RunState.OVER


def test_a_death_within_the_cause_grace_is_the_cause_also_without_an_error_file() -> None:
    history: Moments = [
        *trained(SYNC, FIRST),
        (10, Exited(FIRST, 1, error("UnavailableError", consequence=True))),
        (11, Exited(SECOND, -9)),  # nobody has asked it to end yet
    ]
    seen = replay(SYNC, FIRST, history, budget=0)
    assert seen.supervisor.cause is not None
    assert seen.supervisor.cause.task == SECOND


def test_a_worker_that_is_not_there_yet_when_the_chief_is_done_does_not_hold_the_end_up() -> None:
    history: Moments = [
        *trained(ASYNC, CHIEF),
        (10, Exited(FIRST, -9)),
        (11.5, Tick()),  # it starts again; importing TensorFlow takes until 16
        (12, Told(CHIEF, "result", {"steps": 1})),
        (12, Exited(CHIEF, 0)),
        (12, Exited(PS, 0)),
        *[(float(second), Tick()) for second in range(13, 20)],
    ]
    seen = replay(ASYNC, CHIEF, history, budget=3)
    assert seen.kills, "nobody can meet it any more"


def test_a_worker_that_is_told_to_be_left_out_twice_is_left_out_once() -> None:
    told = Told(FIRST, "left_out", {"tasks": [str(SECOND)]})
    history: Moments = [(30, told), (31, told), (32, Told(FIRST, "ready"))]
    elastic = Elastic(Quorum.of([FIRST, SECOND], 1, FIRST))
    seen = replay(SYNC, FIRST, history, elastic=elastic)
    why = "worker:1 did not come to the rendezvous"
    assert seen.said == [f"{why}; going on without worker:1, with 1 of 2 workers (cluster.worker.min: 1)"]
    assert elastic.left_out == (SECOND,)
    assert seen.supervisor.tasks == {FIRST: TaskState.READY, SECOND: TaskState.LEFT_OUT}
    assert seen.kills == [(30, "worker:1", "SIGKILL")]
    assert seen.supervisor.state is RunState.TRAINING
