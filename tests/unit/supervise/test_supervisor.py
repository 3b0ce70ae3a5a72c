"""The Supervisor from the start of a run to its end, and its first cause: recorded histories without restarts."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from launcher.contract.phases import Phase
from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.supervise.events import (
    Event,
    Exited,
    Inspect,
    Inspected,
    Record,
    Reported,
    RunState,
    Start,
    TaskState,
    Tick,
)
from launcher.supervise.hangs import Patience
from launcher.supervise.shutdown import STOP_GRACE
from launcher.supervise.supervisor import CAUSE_GRACE, EVALUATE_GRACE, LEAVE_GRACE, Supervisor
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
    killed,
    lost,
    obeyed,
    ready,
    replay,
    ticks,
    trained,
)


def chief_done(at: float) -> Moments:
    return [(at, Reported(CHIEF, "result", {"steps": 20})), (at, Exited(CHIEF, 0))]


# Start and end


def test_every_task_is_started_at_once() -> None:
    seen = replay(SYNC, [])
    starts = [(now, action) for now, action in seen.actions if isinstance(action, Start)]
    assert starts == [(0.0, Start(FIRST)), (0.0, Start(SECOND))]


def test_the_run_trains_when_the_cluster_is_ready_and_an_evaluator_is_not_waited_for() -> None:
    assert replay(EVALUATED, ready(FIRST)).state is RunState.FORMING
    assert replay(EVALUATED, ready(FIRST, SECOND)).state is RunState.TRAINING


def test_what_a_task_has_checked_to_have_is_recorded_and_changes_no_state() -> None:
    found = {"cores": [2, 3], "gpus": {"0": "T4"}}
    seen = replay(SYNC, [(1, Reported(SECOND, "started", found))])
    assert seen.records[-1] == Record(SECOND, "placed", details=found)
    assert seen.supervisor.tasks == dict.fromkeys(SYNC, TaskState.STARTED)


def test_a_synchronous_run_is_done_when_its_leader_has_left_with_a_result() -> None:
    history: Moments = [
        *ready(FIRST, SECOND),
        (2, Reported(FIRST, "progress", {"step": 10})),
        (3, Reported(FIRST, "result", {"steps": 20})),
        (4, Exited(SECOND, 0)),
        (4, Exited(FIRST, 0)),
    ]
    seen = replay(SYNC, history)
    assert seen.supervisor.done
    assert seen.state is RunState.OVER
    assert seen.supervisor.progress.first_step_at == 2
    assert seen.kills == []


def test_if_the_leader_runs_elsewhere_the_run_here_is_done_when_all_tasks_here_are() -> None:
    finished: Moments = [(2, Reported(SECOND, "finished")), (900, Tick()), (901, Exited(SECOND, 0))]
    supervisor = replay({SECOND: Role.TRAIN}, [*ready(SECOND), *finished], leader=FIRST).supervisor
    assert supervisor.done
    assert supervisor.cause is None


def test_a_task_that_left_before_the_cluster_formed_does_not_break_the_start_timeout() -> None:
    history: Moments = [*ready(FIRST), (1, Exited(SECOND, 0)), (80, Tick())]  # its leader is on another machine
    assert replay(SYNC, history, leader=CHIEF, budget=3).state is not RunState.OVER


def test_servers_that_stay_after_the_chief_are_asked_and_then_killed_and_the_run_is_done() -> None:
    leave = 4 + LEAVE_GRACE
    history: Moments = [
        *ready(*ASYNC),
        *chief_done(4),
        (5, Exited(FIRST, 0)),
        (leave, Tick()),
        (leave, Tick()),
        (leave + STOP_GRACE, Tick()),
        (leave + STOP_GRACE + 1, Tick()),
        *killed(PS, at=leave + STOP_GRACE + 1),
    ]
    seen = replay(ASYNC, history)
    assert seen.kills == [(leave, "ps:0", "SIGTERM"), (leave + STOP_GRACE, "ps:0", "SIGKILL")]
    assert seen.supervisor.done
    assert seen.supervisor.tasks[PS] is TaskState.STOPPED
    assert seen.supervisor.cause is None


def test_an_error_of_a_server_after_the_chief_has_gone_is_no_failure() -> None:
    supervisor = replay(ASYNC, [*ready(*ASYNC), *chief_done(4), (5, lost(FIRST)), (5, Exited(PS, -6))]).supervisor
    assert supervisor.done
    assert supervisor.cause is None


def test_an_error_of_a_server_that_was_asked_to_end_after_the_chief_restarts_nothing() -> None:
    end = 4 + LEAVE_GRACE
    after: Moments = [(5, Exited(PS, 0)), (end, Tick()), (end, Tick()), (end + 1, lost(FIRST))]
    seen = replay(ASYNC, [*trained(ASYNC), *chief_done(4), *after], budget=3)
    assert seen.state is RunState.OVER
    assert seen.supervisor.done


@pytest.mark.parametrize(
    ("after", "used"),
    [
        ([(11, Exited(PS, 0)), *ticks(12, 100)], 5),  # its pause is 32 s, and it is not started at all
        ([(11, Exited(PS, 0)), *ticks(12, 20)], 0),  # it was started again, and importing TensorFlow takes until 16
    ],
    ids=["pending", "started"],
)
def test_a_worker_that_restarts_when_the_chief_is_done_does_not_delay_the_end(after: Moments, used: int) -> None:
    began: Moments = [*trained(ASYNC), *killed(FIRST, at=9), (10.5, Tick())]
    seen = replay(ASYNC, [*began, *chief_done(11), *after], budget=8, used=used)
    assert seen.restarts == ([] if used else [(10.5, FIRST, 2)])
    assert seen.kills == ([] if used else [(11, "worker:0", "SIGKILL")])  # there is no rendezvous any more
    assert (seen.state is RunState.OVER) is bool(used)


def test_an_evaluator_gets_longer_to_score_the_last_checkpoint() -> None:
    late = 4 + LEAVE_GRACE + EVALUATE_GRACE
    ended: Moments = [(3, Reported(FIRST, "result", {})), (4, Exited(FIRST, 0))]
    history: Moments = [*ready(FIRST), *ended, (4 + LEAVE_GRACE, Tick()), (late, Tick()), (late, Tick())]
    seen = replay({FIRST: Role.TRAIN, EVALUATOR: Role.EVALUATE}, history)
    assert seen.kills == [(late, "evaluator:0", "SIGTERM")]


SCORES: Mapping[Task, Role] = {FIRST: Role.TRAIN, EVALUATOR: Role.EVALUATE}
ENDED: Moments = [*ready(FIRST, EVALUATOR), (3, Reported(FIRST, "result", {})), (4, Exited(FIRST, 0))]


def scores(begins: float, ends: float) -> Moments:
    """The evaluator scores a checkpoint, and says every five seconds that it lives."""
    begun: Moments = [(begins, Reported(EVALUATOR, "phase", {"phase": "evaluate"}))]
    lives: Moments = [(begins + second, Reported(EVALUATOR, "alive")) for second in range(0, int(ends - begins), 5)]
    return [*begun, *lives, (ends, Reported(EVALUATOR, "idle"))]


def test_an_evaluation_at_the_end_has_the_bound_of_evaluations_and_so_has_the_one_after_it() -> None:
    history: Moments = [*ENDED, *scores(5, 500), (501, Tick()), *scores(502, 1000), (1001, Exited(EVALUATOR, 0))]
    seen = replay(SCORES, history, timeouts={Phase.EVALUATE: 600})
    assert seen.kills == []
    assert seen.supervisor.done
    assert seen.state is RunState.OVER


def test_an_evaluation_at_the_end_that_takes_too_long_or_stands_still_is_not_waited_for() -> None:
    seen = replay(SCORES, [*ENDED, *scores(5, 900)], timeouts={Phase.EVALUATE: 600})
    assert seen.kills[0] == (610, "evaluator:0", "SIGTERM")  # at its next sign of life
    still: Moments = [*scores(5, 30)[:-1], *ticks(31, 200)]  # its last sign of life is that of 25
    seen = replay(SCORES, [*ENDED, *still], timeouts={Phase.EVALUATE: 600})
    assert seen.kills[0] == (25 + 60 + 1, "evaluator:0", "SIGTERM")


# The first cause


def test_a_dead_task_ends_the_others_and_is_the_cause() -> None:
    history = [*ready(FIRST, SECOND), *killed(SECOND, at=2), (2 + STOP_GRACE, Tick()), *killed(FIRST, at=8)]
    seen = replay(SYNC, history)
    assert seen.kills == [(2, "worker:0", "SIGTERM"), (2 + STOP_GRACE, "worker:0", "SIGKILL")]
    assert seen.failure == ("worker:1", "killed by SIGKILL", 1)
    assert seen.supervisor.tasks == {FIRST: TaskState.STOPPED, SECOND: TaskState.FAILED}


GONE = Exited(FIRST, 1, error("UnavailableError", consequence=True), time_ns=20)


@pytest.mark.parametrize(
    ("ends", "cause"),
    [
        ([GONE, Exited(SECOND, 1, error("ValueError"), time_ns=30)], "worker:1: ValueError: no"),
        ([GONE, Exited(SECOND, -9, time_ns=30)], "worker:1: killed by SIGKILL"),  # before it was asked to end
        (
            [Exited(SECOND, 1, error("ValueError"), time_ns=11), Exited(FIRST, 1, error("KeyError"), time_ns=10)],
            "worker:0: KeyError: no",
        ),
    ],
    ids=["an error after its consequence", "a death after its consequence", "the later error first"],
)
def test_the_cause_is_the_earliest_error_that_is_no_consequence(ends: list[Event], cause: str) -> None:
    first, second = ends
    seen = replay(SYNC, [*trained(SYNC), (2, first), (2 + CAUSE_GRACE / 2, second)])
    assert str(seen.cause) == cause


SUSPENDED = Inspected(SECOND, suspended=True)


@pytest.mark.parametrize(
    ("later", "cause"),
    [
        ([], "worker:1 is suspended by a signal (SIGSTOP or Ctrl-Z)"),
        ([(2.5, Exited(SECOND, 1, error("ValueError"), time_ns=30))], "worker:1: ValueError: no"),
    ],
    ids=["before the ends of those that it does not answer", "after an error of a task's own"],
)
def test_a_task_that_is_suspended_is_the_cause(later: Moments, cause: str) -> None:
    seen = replay(SYNC, [*trained(SYNC), (2, GONE), (2.1, SUSPENDED), *later])
    assert str(seen.cause) == cause


def test_what_another_machine_s_task_has_failed_of_comes_before_a_task_that_is_suspended() -> None:
    failed = Exited(FIRST, 2, error("PeerFailed", code=2, consequence=True, mendable=False), time_ns=20)
    assert replay(SYNC, [*trained(SYNC), (2, failed), (2.1, SUSPENDED)]).cause.exit_code == 2


def test_tasks_are_looked_at_without_a_signal_once_one_has_ended_because_of_another() -> None:
    supervisor = replay(SYNC, trained(SYNC)).supervisor
    looked = [action for action in supervisor.handle(GONE, 2) if isinstance(action, Inspect)]
    assert looked == [Inspect(SECOND, can_answer=False)]


def test_a_run_restarts_because_of_a_task_that_is_suspended_also_before_its_first_step() -> None:
    suspended: Moments = [(2, GONE), (2.1, SUSPENDED), (2 + CAUSE_GRACE, Tick()), *obeyed(SECOND, at=5)]
    seen = replay(SYNC, [*ready(FIRST, SECOND), *suspended], budget=3)
    assert [line.partition(" by ")[0] for line in seen.said] == ["worker:1 is suspended"]
    assert seen.supervisor.state is RunState.RESTARTING


def test_a_consequence_alone_stops_the_run_after_a_grace() -> None:
    history = [*ready(FIRST, SECOND), (2, lost(FIRST)), (2 + CAUSE_GRACE / 2, Tick()), (2 + CAUSE_GRACE, Tick())]
    seen = replay(SYNC, history)
    assert seen.kills == [(2 + CAUSE_GRACE, "worker:1", "SIGTERM")]
    assert seen.cause.task == FIRST


def test_tasks_that_ended_within_the_grace_need_not_be_asked_to() -> None:
    history: Moments = [*ready(FIRST, SECOND), (2, GONE), (2.5, Exited(SECOND, 1, error(), time_ns=30))]
    assert replay(SYNC, history).kills == []


def test_a_real_time_signal_which_has_no_name_is_named_by_its_number() -> None:
    seen = replay(SYNC, [*trained(SYNC), (10, Exited(SECOND, -40)), *obeyed(FIRST, at=11)])
    assert seen.failure == ("worker:1", "killed by signal 40", 1)


def test_every_change_of_state_is_recorded_with_its_cause() -> None:
    supervisor = Supervisor({FIRST: Role.TRAIN}, FIRST, start_timeout=60, patience=Patience(300))
    actions = [
        *supervisor.begin(0),
        *supervisor.handle(Reported(FIRST, "meeting"), 1),
        *supervisor.handle(Exited(FIRST, -9), 2),
    ]
    assert [action for action in actions if isinstance(action, Record)] == [
        Record(FIRST, "started"),
        Record(FIRST, "meeting"),
        Record(FIRST, "failed", "killed by SIGKILL"),
        Record(None, "stopping", "worker:0: killed by SIGKILL"),
        Record(None, "over"),
    ]
