"""What the Supervisor does not start again, though it may: by recorded histories, its pauses 1, 2, 4... seconds."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

import pytest

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.supervise.events import Event, Exited, RunState, Seen, Signalled, TaskState, Tick, Told
from launcher.supervise.stopping import STOP_GRACE
from launcher.supervise.supervisor import AGREED_STOP, FORMING_GRACE
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
    Replay,
    error,
    lost,
    ready,
    replay,
    trained,
)

# Of a synchronous cluster: one is killed at 10, the other has followed, and the pause is over at 11.
LOST: Moments = [*trained(SYNC, FIRST), (10, Exited(SECOND, -9)), (10, Exited(FIRST, -15))]
LATER: Moments = [(float(second), Tick()) for second in range(20, 100)]


def over(seen: Replay) -> tuple[str, str, int]:
    """Of a run that has ended without another attempt: who was the cause, what, and with which exit code."""
    supervisor = seen.supervisor
    assert supervisor.state is RunState.OVER
    assert supervisor.cause is not None
    assert not supervisor.done
    return str(supervisor.cause.task), supervisor.cause.error, supervisor.cause.exit_code


# Where starting again does not help


@pytest.mark.parametrize(
    ("death", "cause"),
    [
        (Exited(SECOND, 1, error()), ("worker:1", "ValueError: no", 1)),
        (Exited(SECOND, 2, error("UsageError", code=2) | {"is_sentence": True}), ("worker:1", "no", 2)),
        (Exited(SECOND, 2), ("worker:1", "exit code 2", 1)),
        (
            Exited(SECOND, 0),
            ("worker:1", "ended with exit code 0 before the run was over; does the job call exit()?", 1),
        ),
        (  # as PeerFailed is recorded
            Exited(SECOND, 2, error("PeerFailed", code=2, consequence=True, mendable=False) | {"is_sentence": True}),
            ("worker:1", "no", 2),
        ),
    ],
    ids=["an exception", "a sentence", "an exit code", "an early exit", "a peer's failure"],
)
def test_what_would_happen_again_is_the_end(death: Exited, cause: tuple[str, str, int]) -> None:
    seen = replay(SYNC, FIRST, [*trained(SYNC, FIRST), (10, death), (11, Exited(FIRST, -15)), *LATER], budget=3)
    assert over(seen) == cause
    assert seen.restarts == []
    assert seen.said == []


@pytest.mark.parametrize("moment", [[], ready(FIRST, SECOND)], ids=["forming", "formed"])
def test_who_is_killed_before_the_first_step_would_be_so_again(moment: Moments) -> None:
    seen = replay(SYNC, FIRST, [*moment, (10, Exited(SECOND, -9)), (11, Exited(FIRST, -15)), *LATER], budget=3)
    assert over(seen) == ("worker:1", "killed by SIGKILL", 1)
    assert seen.restarts == []


@pytest.mark.parametrize(("roles", "leader", "alone"), [(ASYNC, CHIEF, FIRST), (EVALUATED, FIRST, EVALUATOR)])
@pytest.mark.parametrize(
    "death", [(-9, None, False), (1, error(), True)], ids=["before the first step", "an exception"]
)
def test_also_who_could_restart_alone_ends_the_run_where_it_does_not_help(
    roles: Mapping[Task, Role], leader: Task, alone: Task, death: tuple[int, Mapping[str, Any] | None, bool]
) -> None:
    code, record, first_step = death
    before = trained(roles, leader) if first_step else ready(*roles)
    others: Moments = [(11, Exited(task, -15)) for task in roles if task != alone]
    seen = replay(roles, leader, [*before, (10, Exited(alone, code, record)), *others, *LATER], budget=3)
    assert over(seen)[0] == str(alone)
    assert len(seen.kills) == len(roles) - 1
    assert seen.restarts == []


def test_no_step_at_all_is_a_stall_that_is_not_tried_again() -> None:
    gone: Moments = [(307, Exited(FIRST, -15)), (307, Exited(SECOND, -15)), (310, Tick())]
    stalled: Moments = [(301, Tick()), (301, Seen(SECOND, stands_still=True)), (306, Tick())]
    seen = replay(SYNC, FIRST, [*ready(FIRST, SECOND), *stalled, *gone], budget=3)
    how = "worker:1 stands still, stopped by a signal; the logs have the stacks of all threads"
    assert over(seen) == ("worker:1", f"no step for 300 s (run.stall_timeout): {how}", 1)


def test_a_cluster_that_does_not_form_again_in_time_is_the_end() -> None:
    late = 11 + 60 + FORMING_GRACE
    looked: Moments = [(late, Tick()), (late, Seen(FIRST)), (late, Seen(SECOND))]
    gone: Moments = [*looked, (late, Exited(FIRST, -15)), (late, Exited(SECOND, -15)), (late + 50, Tick())]
    seen = replay(SYNC, FIRST, [*LOST, (11, Tick()), *ready(FIRST, at=12), *gone], budget=3)
    assert over(seen) == ("worker:1", "not ready after 60 s (run.start_timeout): worker:1", 3)
    assert seen.restarts == [(11, FIRST, 2), (11, SECOND, 2)]


@pytest.mark.parametrize("first", [0, 1], ids=["the cause first", "the consequence first"])
def test_a_mendable_consequence_does_not_restart_what_an_exception_began(first: int) -> None:
    deaths: list[Event] = [Exited(SECOND, 1, error(), time_ns=20), lost(FIRST)]
    history: Moments = [*trained(SYNC, FIRST), (10, deaths[first]), (10.1, deaths[1 - first]), *LATER]
    seen = replay(SYNC, FIRST, history, budget=3)
    assert over(seen) == ("worker:1", "ValueError: no", 1)
    assert seen.restarts == []


def test_an_end_that_does_not_mend_takes_the_evaluator_along() -> None:
    history: Moments = [*trained(EVALUATED, FIRST), (10, Exited(SECOND, 1, error()))]
    seen = replay(EVALUATED, FIRST, history, budget=3)
    assert seen.kills == [(10, "worker:0", "SIGTERM"), (10, "evaluator:0", "SIGTERM")]


# Where the budget is used up


def test_without_a_budget_nothing_is_said_of_it() -> None:
    assert over(replay(SYNC, FIRST, [*LOST, *LATER])) == ("worker:1", "killed by SIGKILL", 1)


def test_a_used_up_budget_is_the_end_and_is_said_with_the_last_cause() -> None:
    again: Moments = [(11, Tick()), *ready(FIRST, SECOND, at=12), (13, Exited(FIRST, -11)), (13, Exited(SECOND, -15))]
    seen = replay(SYNC, FIRST, [*LOST, *again, *LATER], budget=1)
    assert over(seen) == ("worker:0", "killed by SIGSEGV; run.restarts (1) are used up", 1)
    assert seen.restarts == [(11, FIRST, 2), (11, SECOND, 2)]


def test_lone_restarts_are_paid_from_the_same_budget() -> None:
    twice: Moments = [(10, Exited(FIRST, -9)), (11, Tick()), (20, Exited(FIRST, -9))]
    gone: Moments = [(21, Exited(CHIEF, -15)), (21, Exited(PS, -15))]
    seen = replay(ASYNC, CHIEF, [*trained(ASYNC, CHIEF), *twice, *gone, *LATER[5:]], budget=1)
    assert over(seen) == ("worker:0", "killed by SIGKILL; run.restarts (1) are used up", 1)
    assert seen.kills == [(20, "chief:0", "SIGTERM"), (20, "ps:0", "SIGTERM")]
    assert seen.restarts == [(11, FIRST, 2)]


def test_a_used_up_budget_takes_the_evaluator_along() -> None:
    again: Moments = [(11, Tick()), *ready(FIRST, SECOND, at=12), (13, Exited(FIRST, -9))]
    seen = replay(EVALUATED, FIRST, [*trained(EVALUATED, FIRST), *LOST[-2:], *again], budget=1)
    assert seen.kills[1:] == [(13, "worker:1", "SIGTERM"), (13, "evaluator:0", "SIGTERM")]


# Where somebody asked to stop


@pytest.mark.parametrize("moment", [[], trained(SYNC, FIRST)], ids=["forming", "training"])
def test_tasks_that_agreed_to_stop_stop_the_run_which_has_not_failed(moment: Moments) -> None:
    history: Moments = [*moment, (10, Exited(SECOND, AGREED_STOP)), (11, Exited(FIRST, AGREED_STOP)), *LATER]
    seen = replay(SYNC, FIRST, history, budget=3)
    supervisor = seen.supervisor
    assert seen.kills == [(10, "worker:0", "SIGTERM")]
    assert seen.restarts == []
    assert (supervisor.state, supervisor.stopped_by, supervisor.cause) == (RunState.OVER, signal.SIGTERM, None)
    assert supervisor.tasks == {FIRST: TaskState.STOPPED, SECOND: TaskState.STOPPED}
    assert not supervisor.done


def test_an_agreed_stop_is_what_a_task_killed_by_the_shell_would_say() -> None:
    assert AGREED_STOP == 143


def test_an_error_with_the_code_of_an_agreed_stop_is_a_failure_all_the_same() -> None:
    history: Moments = [*trained(SYNC, FIRST), (10, Exited(SECOND, AGREED_STOP, error(code=AGREED_STOP)))]
    supervisor = replay(SYNC, FIRST, history, budget=3).supervisor
    assert supervisor.stopped_by is None
    assert supervisor.cause is not None
    assert supervisor.cause.exit_code == AGREED_STOP


def test_a_task_that_agreed_to_stop_while_the_gang_is_stopped_does_not_hinder_the_restart() -> None:
    history: Moments = [
        *trained(SYNC, FIRST),
        (10, Exited(SECOND, -9)),
        (10.5, Exited(FIRST, AGREED_STOP)),
        (12, Tick()),
    ]
    seen = replay(SYNC, FIRST, history, budget=1)
    assert seen.restarts == [(12, FIRST, 2), (12, SECOND, 2)]


def test_an_agreed_stop_after_the_leaders_end_is_no_stop() -> None:
    done: Moments = [(3, Told(CHIEF, "result", {})), (4, Exited(CHIEF, 0)), (5, Exited(PS, AGREED_STOP))]
    supervisor = replay(ASYNC, CHIEF, [*trained(ASYNC, CHIEF), *done, (5, Exited(FIRST, 0))], budget=1).supervisor
    assert supervisor.done
    assert supervisor.stopped_by is None


def test_a_signal_while_the_gang_waits_ends_the_run_at_once_and_nothing_starts() -> None:
    seen = replay(SYNC, FIRST, [*LOST, (10.5, Signalled(signal.SIGINT))], budget=3)
    assert seen.supervisor.state is RunState.OVER
    assert (seen.supervisor.stopped_by, seen.supervisor.cause) == (signal.SIGINT, None)
    assert replay(SYNC, FIRST, [*LOST, (10.5, Signalled(signal.SIGINT)), *LATER], budget=3).restarts == []


def test_a_signal_while_the_gang_waits_asks_the_evaluator() -> None:
    history: Moments = [*trained(EVALUATED, FIRST), *LOST[-2:], (10.5, Signalled(signal.SIGTERM))]
    seen = replay(EVALUATED, FIRST, history, budget=3)
    assert seen.supervisor.state is RunState.STOPPING
    assert seen.kills[1:] == [(10.5, "evaluator:0", "SIGTERM")]
    seen = replay(EVALUATED, FIRST, [*history, (11, Exited(EVALUATOR, AGREED_STOP)), *LATER], budget=3)
    assert seen.supervisor.state is RunState.OVER
    assert seen.restarts == []


def test_a_signal_while_a_worker_waits_drops_its_restart() -> None:
    history: Moments = [*trained(ASYNC, CHIEF), (10, Exited(FIRST, -9)), (10.5, Signalled(signal.SIGTERM))]
    gone: Moments = [(11.5, Exited(CHIEF, AGREED_STOP)), (11.5, Exited(PS, -15)), *LATER]
    seen = replay(ASYNC, CHIEF, [*history, *gone], budget=3)
    assert seen.kills == [(10.5, "chief:0", "SIGTERM")]  # which saves, needs the ps for that, and sends it away
    assert seen.restarts == []
    assert (seen.supervisor.state, seen.supervisor.cause) == (RunState.OVER, None)


def test_a_signal_while_the_gang_is_stopped_cancels_the_restart() -> None:
    history: Moments = [*trained(SYNC, FIRST), (10, Exited(SECOND, -9)), (10.5, Signalled(signal.SIGTERM))]
    seen = replay(SYNC, FIRST, [*history, (10.5 + STOP_GRACE, Tick()), (16, Exited(FIRST, -9)), *LATER], budget=3)
    assert seen.kills == [
        (10, "worker:0", "SIGTERM"),
        (10.5, "worker:0", "SIGTERM"),
        (10.5 + STOP_GRACE, "worker:0", "SIGKILL"),
    ]
    assert seen.supervisor.state is RunState.OVER
    assert seen.restarts == []


# While the gang waits


def test_an_evaluators_own_error_while_the_gang_waits_ends_the_run() -> None:
    failed: Moments = [(10.5, Exited(EVALUATOR, 1, error())), *LATER]
    seen = replay(EVALUATED, FIRST, [*trained(EVALUATED, FIRST), *LOST[-2:], *failed], budget=3)
    assert over(seen) == ("evaluator:0", "ValueError: no", 1)
    assert seen.restarts == []
