"""Failures after which the Supervisor restarts nothing, though its budget is not empty, or because it is."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

import pytest

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.supervise.events import Event, Exited, Inspected, Reported, RunState, Signalled, Tick
from launcher.supervise.supervisor import FORMING_GRACE
from tests.unit.supervise.histories import (
    ASYNC,
    CHIEF,
    EVALUATED,
    EVALUATOR,
    FIRST,
    PS,
    SECOND,
    SYNC,
    WAITING,
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

LOST: Moments = [*trained(SYNC), *WAITING]
LATER: Moments = ticks(20, 100)


# A restart does not help


@pytest.mark.parametrize(
    ("death", "cause"),
    [
        (Exited(SECOND, 1, error()), ("worker:1", "ValueError: no", 1)),
        (Exited(SECOND, 2, error("UsageError", code=2) | {"is_sentence": True}), ("worker:1", "no", 2)),
        (Exited(SECOND, 2), ("worker:1", "exited with code 2", 1)),
        (
            Exited(SECOND, 0),
            ("worker:1", "exited with code 0 before the run was over; does the training code call exit()?", 1),
        ),
        (  # as PeerFailed is recorded
            Exited(SECOND, 2, error("PeerFailed", code=2, consequence=True, mendable=False) | {"is_sentence": True}),
            ("worker:1", "no", 2),
        ),
    ],
    ids=["an exception", "a sentence", "an exit code", "an early exit", "a peer's failure"],
)
def test_what_would_happen_again_is_the_end(death: Exited, cause: tuple[str, str, int]) -> None:
    seen = replay(SYNC, [*trained(SYNC), (10, death), *obeyed(FIRST, at=11), *LATER], budget=3)
    assert seen.failure == cause
    assert seen.restarts == []
    assert seen.said == []


@pytest.mark.parametrize("moment", [[], ready(FIRST, SECOND)], ids=["forming", "formed"])
def test_a_task_that_is_killed_before_the_first_step_is_not_restarted(moment: Moments) -> None:
    seen = replay(SYNC, [*moment, *killed(SECOND, at=10), *obeyed(FIRST, at=11), *LATER], budget=3)
    assert seen.failure == ("worker:1", "killed by SIGKILL", 1)
    assert seen.restarts == []


@pytest.mark.parametrize(("roles", "alone"), [(ASYNC, FIRST), (EVALUATED, EVALUATOR)])
@pytest.mark.parametrize(
    "death", [(-9, None, False), (1, error(), True)], ids=["before the first step", "an exception"]
)
def test_a_task_that_could_restart_alone_ends_the_run_if_a_restart_does_not_help(
    roles: Mapping[Task, Role], alone: Task, death: tuple[int, Mapping[str, Any] | None, bool]
) -> None:
    code, record, first_step = death
    before = trained(roles) if first_step else ready(*roles)
    others = obeyed(*(task for task in roles if task != alone), at=11)
    seen = replay(roles, [*before, (10, Exited(alone, code, record)), *others, *LATER], budget=3)
    assert seen.failure[0] == str(alone)
    assert len(seen.kills) == len(roles) - 1
    assert seen.restarts == []


def test_a_cluster_that_does_not_form_again_in_time_is_the_end() -> None:
    late = 11 + 60 + FORMING_GRACE
    inspected: Moments = [(late, Tick()), (late, Inspected(FIRST)), (late, Inspected(SECOND))]
    gone: Moments = [*inspected, *obeyed(FIRST, SECOND, at=late), (late + 50, Tick())]
    seen = replay(SYNC, [*LOST, (11, Tick()), *ready(FIRST, at=12), *gone], budget=3)
    assert seen.failure == ("worker:1", "not ready after 60 s (run.start_timeout): worker:1", 3)
    assert seen.restarts == [(11, FIRST, 2), (11, SECOND, 2)]


def test_a_start_that_verifies_a_checkpoint_of_gigabytes_has_the_time_that_its_tasks_say() -> None:
    busy: Moments = [(at, Reported(SECOND, "extended", {"seconds": 30.0})) for at in range(20, 221, 20)]
    late = 220 + 30 + FORMING_GRACE
    inspected: Moments = [(late, Tick()), (late, Inspected(FIRST)), (late, Inspected(SECOND))]
    gone: Moments = [*inspected, *obeyed(FIRST, SECOND, at=late), (late + 50, Tick())]
    waits: Moments = [*busy, (late - 1, Tick())]
    assert replay(SYNC, [*waits, *ready(FIRST, SECOND, at=late - 1)]).state is RunState.TRAINING
    assert replay(SYNC, [*waits, *gone]).failure[2] == 3


@pytest.mark.parametrize("first", [0, 1], ids=["the cause first", "the consequence first"])
def test_a_retryable_consequence_does_not_restart_what_an_exception_began(first: int) -> None:
    deaths: list[Event] = [Exited(SECOND, 1, error(), time_ns=20), lost(FIRST)]
    history: Moments = [*trained(SYNC), (10, deaths[first]), (10.1, deaths[1 - first]), *LATER]
    seen = replay(SYNC, history, budget=3)
    assert seen.failure == ("worker:1", "ValueError: no", 1)
    assert seen.restarts == []


def test_an_evaluators_own_error_while_the_cluster_waits_ends_the_run() -> None:
    failed: Moments = [(10.5, Exited(EVALUATOR, 1, error())), *LATER]
    seen = replay(EVALUATED, [*trained(EVALUATED), *WAITING, *failed], budget=3)
    assert seen.failure == ("evaluator:0", "ValueError: no", 1)
    assert seen.restarts == []


def test_an_evaluator_that_waits_to_restart_does_not_start_after_the_end() -> None:
    history: Moments = [
        *trained(EVALUATED),
        *killed(EVALUATOR, at=10),  # its pause is 8 s, since three restarts were used
        (11, Exited(FIRST, 1, error())),
        *obeyed(SECOND, at=11),
        *ticks(12, 100),
    ]
    seen = replay(EVALUATED, history, budget=8, used=3)
    assert seen.failure == ("worker:0", "ValueError: no", 1)
    assert seen.restarts == []


# The budget is exhausted

EXHAUSTED = "restarts exhausted (run.restarts: 1)"


def test_without_a_budget_nothing_is_said_of_it() -> None:
    assert replay(SYNC, [*LOST, *LATER]).failure == ("worker:1", "killed by SIGKILL", 1)


def test_an_exhausted_budget_is_the_end_and_is_said_with_the_last_cause() -> None:
    again: Moments = [(11, Tick()), *ready(FIRST, SECOND, at=12), (13, Exited(FIRST, -11)), *obeyed(SECOND, at=13)]
    seen = replay(SYNC, [*LOST, *again, *LATER], budget=1)
    assert seen.failure == ("worker:0", f"killed by SIGSEGV; {EXHAUSTED}", 1)
    assert seen.restarts == [(11, FIRST, 2), (11, SECOND, 2)]


def test_an_exhausted_budget_is_said_once_however_long_an_evaluator_takes_to_end() -> None:
    history: Moments = [*trained(EVALUATED), *WAITING, (10.1, Tick()), (10.2, Tick()), *obeyed(EVALUATOR, at=11)]
    assert replay(EVALUATED, history, budget=1, used=1).failure == ("worker:1", f"killed by SIGKILL; {EXHAUSTED}", 1)


def test_a_restart_of_one_task_is_paid_from_the_same_budget() -> None:
    twice: Moments = [*killed(FIRST, at=10), (11, Tick()), *killed(FIRST, at=20)]
    seen = replay(ASYNC, [*trained(ASYNC), *twice, *obeyed(CHIEF, PS, at=21), *LATER[5:]], budget=1)
    assert seen.failure == ("worker:0", f"killed by SIGKILL; {EXHAUSTED}", 1)
    assert seen.kills == [(20, "chief:0", "SIGTERM"), (20, "ps:0", "SIGTERM")]
    assert seen.restarts == [(11, FIRST, 2)]


# The evaluator at the end


@pytest.mark.parametrize(
    ("end", "kills"),
    [
        (
            [(13, Exited(SECOND, 1, error()))],
            [(13, "worker:0", "SIGTERM"), (13, "evaluator:0", "SIGTERM")],
        ),
        (
            [*WAITING, (11, Tick()), *ready(FIRST, SECOND, at=12), *killed(FIRST, at=13)],
            [(10, "worker:0", "SIGTERM"), (13, "worker:1", "SIGTERM"), (13, "evaluator:0", "SIGTERM")],
        ),
    ],
    ids=["an exception", "an exhausted budget"],
)
def test_an_end_without_a_restart_ends_the_evaluator_too(end: Moments, kills: list[tuple[float, str, str]]) -> None:
    assert replay(EVALUATED, [*trained(EVALUATED), *end], budget=1).kills == kills


FINISHED: Moments = [(3, Reported(FIRST, "result", {})), (4, Exited(FIRST, 0)), (4, Exited(SECOND, 0))]
UNSCORED = "the training is done, but evaluator:0 has not scored the last checkpoint; see its log"


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ([(5, Exited(EVALUATOR, 0))], []),
        ([(5, Exited(EVALUATOR, 1, error()))], [UNSCORED]),
        ([*killed(EVALUATOR, at=5)], [UNSCORED]),
        ([(75, Tick()), *obeyed(EVALUATOR, at=75)], [UNSCORED]),  # it took too long, and was asked to end
    ],
    ids=["scored", "failed", "killed", "late"],
)
def test_an_evaluator_that_does_not_score_the_last_checkpoint_is_named_and_the_run_is_done(
    end: Moments, said: list[str]
) -> None:
    seen = replay(EVALUATED, [*trained(EVALUATED), *FINISHED, *end])
    assert (seen.state, seen.supervisor.done) == (RunState.OVER, True)
    assert seen.said == said


def test_an_evaluator_that_waits_to_restart_as_the_leader_ends_is_named() -> None:
    history: Moments = [*trained(EVALUATED), *killed(EVALUATOR, at=2.5), *FINISHED]
    seen = replay(EVALUATED, history, budget=3, used=2)
    assert (seen.state, seen.supervisor.done) == (RunState.OVER, True)
    assert seen.said[-1] == UNSCORED


def test_an_evaluator_of_a_run_that_failed_or_was_stopped_is_not_missed() -> None:
    stopped: Moments = [*trained(EVALUATED), (3, Signalled(signal.SIGTERM)), *obeyed(FIRST, SECOND, EVALUATOR, at=4)]
    assert UNSCORED not in replay(EVALUATED, stopped).said
    failed: Moments = [*trained(EVALUATED), *killed(FIRST, at=3), *obeyed(SECOND, EVALUATOR, at=4)]
    assert UNSCORED not in replay(EVALUATED, failed).said
