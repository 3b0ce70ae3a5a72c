"""The Supervisor, by recorded histories: what happened at which second, and what had to follow."""

from __future__ import annotations

import signal

import pytest

from launcher.contract.roles import Role
from launcher.supervise.events import (
    Cause,
    Exited,
    Look,
    Record,
    RunState,
    Seen,
    Signalled,
    Start,
    TaskState,
    Tick,
    Told,
)
from launcher.supervise.hangs import FOLLOWER_GRACE, LOOK_GRACE
from launcher.supervise.stopping import SAVE_GRACE, STOP_GRACE
from launcher.supervise.supervisor import CAUSE_GRACE, EVALUATE_GRACE, FORMING_GRACE, LEAVE_GRACE, Supervisor
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
    lost,
    ready,
    replay,
)


def test_every_task_is_started_at_once() -> None:
    seen = replay(SYNC, FIRST, [])
    starts = [(now, action) for now, action in seen.actions if isinstance(action, Start)]
    assert starts == [(0.0, Start(FIRST)), (0.0, Start(SECOND))]


def test_the_run_trains_when_all_members_are_ready_and_an_evaluator_is_not_waited_for() -> None:
    supervisor = replay(EVALUATED, FIRST, ready(FIRST)).supervisor
    assert supervisor.state is RunState.FORMING
    supervisor = replay(EVALUATED, FIRST, ready(FIRST, SECOND)).supervisor
    assert supervisor.state is RunState.TRAINING


def test_a_synchronous_run_is_done_when_its_leader_has_left_with_a_result() -> None:
    history: Moments = [
        *ready(FIRST, SECOND),
        (2, Told(FIRST, "progress", {"step": 10})),
        (3, Told(FIRST, "result", {"steps": 20})),
        (4, Exited(SECOND, 0)),
        (4, Exited(FIRST, 0)),
    ]
    seen = replay(SYNC, FIRST, history)
    supervisor = seen.supervisor
    assert supervisor.done
    assert supervisor.state is RunState.OVER
    assert supervisor.progress.first_step_at == 2
    assert seen.kills == []


def test_servers_that_stay_after_the_chief_are_asked_and_then_killed_and_the_run_is_done() -> None:
    leave = 4 + LEAVE_GRACE
    history: Moments = [
        *ready(*ASYNC),
        (3, Told(CHIEF, "result", {"steps": 20})),
        (4, Exited(CHIEF, 0)),
        (5, Exited(FIRST, 0)),
        (leave, Tick()),
        (leave, Tick()),
        (leave + STOP_GRACE, Tick()),
        (leave + STOP_GRACE + 1, Tick()),
        (leave + STOP_GRACE + 1, Exited(PS, -9)),
    ]
    seen = replay(ASYNC, CHIEF, history)
    supervisor = seen.supervisor
    assert seen.kills == [(leave, "ps:0", "SIGTERM"), (leave + STOP_GRACE, "ps:0", "SIGKILL")]
    assert supervisor.done
    assert supervisor.tasks[PS] is TaskState.STOPPED
    assert supervisor.cause is None


def test_what_a_server_says_after_the_chief_has_gone_is_no_failure() -> None:
    history: Moments = [
        *ready(*ASYNC),
        (3, Told(CHIEF, "result", {})),
        (4, Exited(CHIEF, 0)),
        (5, lost(FIRST)),
        (5, Exited(PS, -6)),
    ]
    supervisor = replay(ASYNC, CHIEF, history).supervisor
    assert supervisor.done
    assert supervisor.cause is None


def test_an_evaluator_gets_longer_to_score_the_last_checkpoint() -> None:
    history: Moments = [
        *ready(FIRST),
        (3, Told(FIRST, "result", {})),
        (4, Exited(FIRST, 0)),
        (4 + LEAVE_GRACE, Tick()),
        (4 + LEAVE_GRACE + EVALUATE_GRACE, Tick()),
        (4 + LEAVE_GRACE + EVALUATE_GRACE, Tick()),
    ]
    seen = replay({FIRST: Role.TRAIN, EVALUATOR: Role.EVALUATE}, FIRST, history)
    assert seen.kills == [(4 + LEAVE_GRACE + EVALUATE_GRACE, "evaluator:0", "SIGTERM")]


def test_a_dead_task_ends_the_others_and_is_the_cause() -> None:
    history = [*ready(FIRST, SECOND), (2, Exited(SECOND, -9)), (2 + STOP_GRACE, Tick()), (8, Exited(FIRST, -9))]
    seen = replay(SYNC, FIRST, history)
    supervisor = seen.supervisor
    assert seen.kills == [(2, "worker:0", "SIGTERM"), (2 + STOP_GRACE, "worker:0", "SIGKILL")]
    assert supervisor.cause is not None
    assert (supervisor.cause.task, supervisor.cause.error) == (SECOND, "killed by SIGKILL")
    assert supervisor.tasks == {FIRST: TaskState.STOPPED, SECOND: TaskState.FAILED}
    assert supervisor.state is RunState.OVER
    assert not supervisor.done


def test_the_consequence_of_a_peers_end_is_not_reported_as_the_cause() -> None:
    history: Moments = [
        *ready(FIRST, SECOND),
        (2, Exited(FIRST, 1, error("UnavailableError", consequence=True), time_ns=20)),
        (2.5, Exited(SECOND, 1, error("ValueError"), time_ns=30)),
    ]
    seen = replay(SYNC, FIRST, history)
    supervisor = seen.supervisor
    assert supervisor.cause is not None
    assert (supervisor.cause.task, supervisor.cause.error) == (SECOND, "ValueError: no")
    assert seen.kills == []  # the cause showed itself within the grace


def test_a_consequence_alone_stops_the_run_after_a_grace() -> None:
    history = [*ready(FIRST, SECOND), (2, lost(FIRST)), (2 + CAUSE_GRACE / 2, Tick()), (2 + CAUSE_GRACE, Tick())]
    seen = replay(SYNC, FIRST, history)
    supervisor = seen.supervisor
    assert seen.kills == [(2 + CAUSE_GRACE, "worker:1", "SIGTERM")]
    assert supervisor.cause is not None
    assert supervisor.cause.task == FIRST


def test_of_two_errors_the_earlier_is_the_cause_whichever_was_heard_of_first() -> None:
    history: Moments = [
        *ready(FIRST, SECOND),
        (2, Exited(SECOND, 1, error("ValueError"), time_ns=11)),
        (2, Exited(FIRST, 1, error("KeyError"), time_ns=10)),
    ]
    supervisor = replay(SYNC, FIRST, history).supervisor
    assert supervisor.cause is not None
    assert supervisor.cause.error == "KeyError: no"


LATE = 60 + FORMING_GRACE
NOT_READY = "not ready after 60 s (run.start_timeout): worker:1"


def test_a_task_that_is_never_ready_is_looked_at_and_named_after_the_start_timeout() -> None:
    looked: Moments = [(LATE, Tick()), (LATE + 1, Seen(FIRST)), (LATE + 1, Seen(SECOND)), (LATE + 1, Tick())]
    seen = replay(SYNC, FIRST, [*ready(FIRST), (59, Tick()), *looked])
    assert [action for _, action in seen.actions if isinstance(action, Look)] == [
        Look(FIRST),
        Look(SECOND, answers=False),  # whatever has not begun would die of the question
    ]
    assert seen.supervisor.cause == Cause(SECOND, NOT_READY, exit_code=3)
    assert seen.kills == [(LATE + 1, "worker:0", "SIGTERM"), (LATE + 1, "worker:1", "SIGTERM")]


def test_where_somebody_stands_still_the_others_wait_for_that_one() -> None:
    still: Moments = [(LATE, Tick()), (LATE, Seen(FIRST, stands_still=True)), (LATE, Seen(SECOND))]
    seen = replay(SYNC, FIRST, [*ready(FIRST), *still])
    error = f"{NOT_READY}; worker:0 stands still, stopped by a signal"
    assert seen.supervisor.cause == Cause(FIRST, error, exit_code=3)


def test_a_task_that_gives_up_the_rendezvous_brings_its_exit_code() -> None:
    supervisor = replay(SYNC, FIRST, [(60, Exited(FIRST, 3, error("FormationError", code=3)))]).supervisor
    assert supervisor.cause is not None
    assert supervisor.cause.exit_code == 3


def test_no_step_for_the_stall_timeout_is_a_failure_and_progress_puts_it_off() -> None:
    moving = [*ready(FIRST, SECOND), (200, Told(FIRST, "progress", {"step": 1})), (400, Tick())]
    seen = replay(SYNC, FIRST, moving)
    supervisor = seen.supervisor
    assert seen.kills == []
    seen = replay(SYNC, FIRST, [*moving, (500, Tick()), (500 + LOOK_GRACE, Tick()), (500 + LOOK_GRACE, Tick())])
    supervisor = seen.supervisor
    assert len(seen.kills) == 2
    assert supervisor.cause is not None
    assert supervisor.cause.error.startswith("no step for 300 s (run.stall_timeout): ")


def test_a_long_report_after_the_last_step_is_not_a_stall() -> None:
    history = [*ready(FIRST, SECOND), (2, Told(FIRST, "result", {})), (900, Tick())]
    assert replay(SYNC, FIRST, history).kills == []


@pytest.mark.parametrize(("moment", "grace"), [("start", STOP_GRACE), ("training", SAVE_GRACE)])
def test_one_signal_asks_and_kills_after_the_grace_in_which_who_trains_saves(moment: str, grace: float) -> None:
    before = ready(FIRST, SECOND) if moment == "training" else []
    history = [*before, (2, Signalled(signal.SIGINT)), (2 + grace - 0.1, Tick()), (2 + grace, Tick())]
    seen = replay(SYNC, FIRST, history)
    supervisor = seen.supervisor
    asked = [(2, "worker:0", "SIGTERM"), (2, "worker:1", "SIGTERM")]
    killed = [(2 + grace, "worker:0", "SIGKILL"), (2 + grace, "worker:1", "SIGKILL")]
    assert seen.kills == asked + killed
    assert supervisor.stopped_by == signal.SIGINT
    assert supervisor.cause is None


def test_a_second_signal_kills_at_once() -> None:
    history = [*ready(FIRST), (2, Signalled(signal.SIGINT)), (3, Signalled(signal.SIGINT))]
    assert replay({FIRST: Role.TRAIN}, FIRST, history).kills == [
        (2, "worker:0", "SIGTERM"),
        (3, "worker:0", "SIGKILL"),
    ]


def test_errors_of_tasks_that_were_asked_to_stop_are_no_cause() -> None:
    history = [
        *ready(FIRST, SECOND),
        (2, Signalled(signal.SIGTERM)),
        (3, Exited(FIRST, 1, error())),
        (3, Exited(SECOND, 143)),
    ]
    supervisor = replay(SYNC, FIRST, history).supervisor
    assert supervisor.cause is None
    assert supervisor.state is RunState.OVER
    assert not supervisor.done


def test_a_signal_after_the_end_only_hastens_it() -> None:
    history: Moments = [
        *ready(*ASYNC),
        (3, Told(CHIEF, "result", {})),
        (4, Exited(CHIEF, 0)),
        (4.5, Signalled(signal.SIGINT)),
        (5, Exited(PS, -15)),
        (5, Exited(FIRST, -15)),
    ]
    seen = replay(ASYNC, CHIEF, history)
    supervisor = seen.supervisor
    assert supervisor.done
    assert len(seen.kills) == 2


def test_where_the_leader_runs_elsewhere_the_run_here_is_done_when_all_tasks_here_are() -> None:
    finished: Moments = [(2, Told(SECOND, "finished")), (900, Tick()), (901, Exited(SECOND, 0))]
    supervisor = replay({SECOND: Role.TRAIN}, FIRST, [*ready(SECOND), *finished]).supervisor
    assert supervisor.done
    assert supervisor.cause is None


@pytest.mark.parametrize("role", [Role.TRAIN, Role.COMPUTE, Role.SERVE, Role.EVALUATE])
def test_a_task_that_stands_still_is_found_where_the_leader_runs_elsewhere_too(role: Role) -> None:
    late = 1 + 300 + FOLLOWER_GRACE
    history: Moments = [
        *ready(SECOND),
        (late - 1, Tick()),
        (late, Tick()),
        (late, Seen(SECOND, stands_still=True)),
        (late, Tick()),
    ]
    seen = replay({SECOND: role}, FIRST, history)
    assert seen.supervisor.cause is not None
    assert seen.supervisor.cause.task == SECOND
    assert seen.kills == [(late, "worker:1", "SIGTERM")]


def test_who_makes_no_steps_and_says_that_it_lives_does_not_stand_still() -> None:
    alive: Moments = [(float(second), Told(SECOND, "alive")) for second in range(5, 2000, 5)]
    assert replay({SECOND: Role.COMPUTE}, FIRST, [*ready(SECOND), *alive]).kills == []


def test_a_signal_leaves_as_long_as_the_longest_call_needs_twice() -> None:
    steps: Moments = [(second, Told(FIRST, "progress", {"step": second})) for second in (2.0, 22.0, 42.0)]
    seen = replay({FIRST: Role.TRAIN}, FIRST, [*ready(FIRST), *steps, (50, Signalled(signal.SIGTERM)), (104.9, Tick())])
    assert [now for now, *_ in seen.kills] == [50]
    assert "at most 55 s" in seen.said[-1]


def test_what_a_task_has_proved_to_have_is_recorded_and_changes_no_state() -> None:
    found = {"cores": [2, 3], "gpus": {"0": "T4"}}
    seen = replay(SYNC, FIRST, [(1, Told(SECOND, "started", found))])
    assert seen.records[-1] == Record(SECOND, "placed", details=found)
    assert seen.supervisor.tasks == dict.fromkeys(SYNC, TaskState.STARTED)


def test_every_change_of_state_is_recorded_with_its_cause() -> None:
    supervisor = Supervisor({FIRST: Role.TRAIN}, FIRST, start_timeout=60, stall_timeout=300)
    actions = [
        *supervisor.begin(0),
        *supervisor.handle(Told(FIRST, "meeting"), 1),
        *supervisor.handle(Exited(FIRST, -9), 2),
    ]
    assert [action for action in actions if isinstance(action, Record)] == [
        Record(FIRST, "started"),
        Record(FIRST, "meeting"),
        Record(FIRST, "failed", "killed by SIGKILL"),
        Record(None, "stopping", "worker:0: killed by SIGKILL"),
        Record(None, "over"),
    ]
