"""How a run ended: what result.json says of a history."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from launcher.host.inventory import Core, Inventory
from launcher.plan.placement import place
from launcher.rundir import RunFiles
from launcher.spec.model import ClusterSpec
from launcher.supervise.events import Event, Exited, Inspected, Reported, Signalled, Tick
from launcher.supervise.result import Ending, Outcome, conclude
from launcher.supervise.supervisor import AGREED_STOP, FORMING_GRACE
from tests.unit.supervise.histories import (
    FIRST,
    SECOND,
    SYNC,
    Moments,
    error,
    killed,
    lost,
    obeyed,
    ready,
    replay,
    trained,
)

BEGAN = -0.5  # the launcher's own start, before the Supervisor's second 0
DONE: Moments = [
    *trained(SYNC),
    (4, Reported(FIRST, "result", {"steps": 20, "metrics": {"b": 0.5}, "steps_per_s": 7.5})),
    (5, Exited(SECOND, 0)),
    (5, Exited(FIRST, 0)),
]


def outcome(history: Moments, **keys: Any) -> Outcome:
    """How a synchronous run of two workers ended after that history, at second 30."""
    spec = ClusterSpec.model_validate({"job": "hello", "cluster": {"worker": {"tasks": 2, "gpus": 0}}})
    plan = place(spec, Inventory("here", (Core(0, 0),), (), "", (1, 2, 3)))
    supervisor = replay(SYNC, history, **keys).supervisor
    return conclude(plan, RunFiles(Path("run")), Ending.of(supervisor, BEGAN, 30))


def both_end(after: list[Event], code: int = -15) -> Moments:
    """What happened after the first step, at 10, and that both tasks have ended at 11."""
    ends: list[Event] = [Exited(FIRST, code), Exited(SECOND, code)]
    return [*trained(SYNC), *((10.0, event) for event in after), *((11.0, event) for event in ends)]


def test_a_run_that_is_done_says_what_it_has_reached() -> None:
    assert outcome(DONE).result.to_dict() == {
        "status": "done",
        "exit_code": 0,
        "mode": "sync",
        "strategy": "MultiWorkerMirroredStrategy",
        "communication": "RING",
        "reason": "2 tasks take each step together; RING over gRPC, since they compute on CPUs",
        "world_size": 2,
        "steps": 20,
        "metrics": {"b": 0.5},
        "attempts": 1,
        "wall_s": 30.5,
        "time_to_first_step_s": 2.5,
        "steps_per_s": 7.5,
        "cause": None,
        "left_out": [],
        "resumed": None,
        "updates": None,
    }


def test_a_failure_names_its_task_its_error_and_the_file_that_has_more() -> None:
    failed = outcome([*trained(SYNC), (10, Exited(SECOND, 1, error())), *obeyed(FIRST, at=11)])
    assert (failed.result.status, failed.exit_code, failed.result.steps) == ("failed", 1, 1)
    assert failed.result.cause == {
        "task": "worker:1",
        "error": "ValueError: no",
        "file": "errors/attempt-1/worker-1.json",
    }
    assert failed.cause is not None
    assert failed.cause.record == error()


def test_a_failure_without_an_error_file_points_at_the_log_of_its_attempt() -> None:
    ended: Moments = [*killed(SECOND, at=10), *obeyed(FIRST, at=10)]
    again: Moments = [(11, Tick()), *killed(SECOND, at=12), *obeyed(FIRST, at=12)]
    failed = outcome([*trained(SYNC), *ended, *again], budget=1, first_attempt=3)
    assert failed.result.cause is not None
    assert failed.result.cause["file"] == "logs/attempt-4/worker-1.log"
    assert failed.attempt == 4


@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_failure_has_the_exit_code_of_its_cause(code: int) -> None:
    history: Moments = [*trained(SYNC), (10, Exited(SECOND, code, error(code=code))), (10, lost(FIRST))]
    assert outcome(history).exit_code == code


def test_a_cluster_that_did_not_form_has_exit_code_3_and_no_first_step() -> None:
    late = 60 + FORMING_GRACE
    inspected: Moments = [(late, Inspected(FIRST)), (late, Inspected(SECOND))]
    gone: Moments = [(late, Tick()), *inspected, (late, Exited(FIRST, -15)), (late, Exited(SECOND, -15))]
    result = outcome([*ready(FIRST), *gone]).result
    assert (result.status, result.exit_code, result.steps, result.time_to_first_step_s) == ("failed", 3, 0, None)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_stopped_run_has_the_exit_code_of_its_signal_and_no_cause(number: int, code: int) -> None:
    stopped = outcome(both_end([Signalled(number)]))
    assert (stopped.result.status, stopped.exit_code, stopped.result.steps) == ("stopped", code, 1)
    assert (stopped.result.cause, stopped.cause) == (None, None)


def test_a_run_whose_tasks_agreed_to_stop_is_stopped_as_by_sigterm() -> None:
    result = outcome(both_end([], AGREED_STOP), budget=3).result
    assert (result.status, result.exit_code, result.cause) == ("stopped", 143, None)


def test_a_run_that_is_stopped_while_it_waits_for_a_restart_has_not_failed() -> None:
    ended: Moments = [*killed(SECOND, at=10), *obeyed(FIRST, at=10), (10.2, Signalled(signal.SIGINT))]
    result = outcome([*trained(SYNC), *ended], budget=3).result
    assert (result.status, result.exit_code, result.cause) == ("stopped", 130, None)


def test_a_signal_after_a_failure_does_not_hide_it() -> None:
    history: Moments = [*trained(SYNC), (10, Exited(SECOND, 1, error())), (10.5, Signalled(signal.SIGINT))]
    result = outcome([*history, *obeyed(FIRST, at=11)]).result
    assert (result.status, result.exit_code) == ("failed", 1)


def test_a_signal_after_the_end_does_not_undo_it() -> None:
    result = outcome([*DONE[:-2], (5, Exited(FIRST, 0)), (5, Signalled(2)), *obeyed(SECOND, at=6)]).result
    assert (result.status, result.exit_code) == ("done", 0)


@pytest.mark.parametrize(("first_attempt", "attempts"), [(1, 2), (5, 6)])
def test_attempts_count_restarts_and_those_of_the_run_that_is_resumed(first_attempt: int, attempts: int) -> None:
    ended: Moments = [*killed(SECOND, at=2.5), *obeyed(FIRST, at=2.5), (3.5, Tick())]
    keys: dict[str, Any] = {"budget": 1, "first_attempt": first_attempt}
    result = outcome([*DONE[:3], *ended, *DONE[3:]], **keys).result
    assert (result.status, result.attempts) == ("done", attempts)
    assert result.time_to_first_step_s == 2.5
