"""What the Supervisor does if it is asked to stop, by a signal or by tasks that agreed to: recorded histories."""

from __future__ import annotations

import math
import signal

import pytest

from launcher.contract.roles import Role
from launcher.supervise.events import Abandon, Exited, Reported, RunState, Signalled, TaskState, Tick
from launcher.supervise.shutdown import SAVE_GRACE, STOP_GRACE
from launcher.supervise.supervisor import AGREED_STOP
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
    obeyed,
    ready,
    replay,
    ticks,
    trained,
)

LATER: Moments = ticks(20, 100)

# By a signal


@pytest.mark.parametrize(("moment", "grace"), [("start", STOP_GRACE), ("training", SAVE_GRACE)])
def test_one_signal_asks_and_kills_after_the_grace_in_which_tasks_that_train_save(moment: str, grace: float) -> None:
    before = ready(FIRST, SECOND) if moment == "training" else []
    history = [*before, (2, Signalled(signal.SIGINT)), (2 + grace - 0.1, Tick()), (2 + grace, Tick())]
    seen = replay(SYNC, history)
    asked = [(2, "worker:0", "SIGTERM"), (2, "worker:1", "SIGTERM")]
    killed = [(2 + grace, "worker:0", "SIGKILL"), (2 + grace, "worker:1", "SIGKILL")]
    assert seen.kills == asked + killed
    assert seen.supervisor.stopped_by == signal.SIGINT
    assert seen.supervisor.cause is None


def test_a_launcher_of_a_server_alone_waits_for_the_end_of_the_run_as_long_as_the_leader_may_save() -> None:
    history: Moments = [*ready(PS), (2, Signalled(signal.SIGTERM)), (18.9, Tick()), (19, Tick())]
    seen = replay({PS: Role.SERVE}, history, leader=CHIEF)
    assert seen.kills == [(2, "ps:0", "SIGTERM"), (19, "ps:0", "SIGKILL")]
    seen = replay({PS: Role.SERVE}, [*history[:2], (9, Exited(PS, AGREED_STOP))], leader=CHIEF)
    assert seen.state is RunState.OVER
    assert seen.supervisor.stopped_by == signal.SIGTERM


INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.mark.parametrize(
    ("signals", "killed_at"),
    [
        ([(2, INT), (3, INT)], 3),  # a person
        ([(2, INT), (2.9, INT)], 2 + SAVE_GRACE),  # one key press that came twice
        ([(2, INT), (2.1, INT), (3.0, INT)], 3),
        ([(2, HUP), (2.035, HUP)], 19),  # of the shell, then of the kernel
        ([(2, HUP), (9, HUP), (10, TERM)], 19),
        ([(2, TERM), (3, TERM), (4, TERM)], 19),  # Slurm and Docker wrappers
        ([(2, TERM), (9, INT)], 19),  # the first Ctrl-C
        ([(2, TERM), (9, INT), (10, INT)], 10),
        ([(2, INT), (9, TERM), (10, HUP)], 2 + SAVE_GRACE),
    ],
)
def test_only_a_second_ctrl_c_a_second_later_shortens_a_stop(
    signals: list[tuple[float, int]], killed_at: float
) -> None:
    asked: Moments = [(at, Signalled(number)) for at, number in signals]
    history: Moments = [*ready(FIRST), *asked, (killed_at - 0.01, Tick()), (killed_at, Tick())]
    history.sort(key=lambda moment: moment[0])
    seen = replay({FIRST: Role.TRAIN}, history)
    assert seen.kills == [(2, "worker:0", "SIGTERM"), (killed_at, "worker:0", "SIGKILL")]
    assert seen.supervisor.stopped_by == signals[0][1]


def test_a_term_after_a_ctrl_c_bounds_what_a_long_call_would_take() -> None:
    steps: Moments = [(second, Reported(FIRST, "progress", {"step": second})) for second in (2.0, 102.0, 202.0)]
    asked: Moments = [(250, Signalled(INT)), (260, Signalled(TERM)), (270, Signalled(TERM))]
    seen = replay({FIRST: Role.TRAIN}, [*ready(FIRST), *steps, *asked, (276.9, Tick()), (277, Tick())])
    assert seen.kills == [(250, "worker:0", "SIGTERM"), (277, "worker:0", "SIGKILL")]
    assert seen.supervisor.stopped_by == INT


@pytest.mark.parametrize(("grace", "seconds"), [(20.0, 17.0), (60.0, 57.0), (2.0, 1.0)])
def test_a_term_is_bounded_by_the_grace_whatever_a_call_takes(grace: float, seconds: float) -> None:
    steps: Moments = [(second, Reported(FIRST, "progress", {"step": second})) for second in (2.0, 102.0, 202.0)]
    asked: Moments = [(250, Signalled(TERM)), (250 + seconds - 0.1, Tick()), (250 + seconds, Tick())]
    seen = replay({FIRST: Role.TRAIN}, [*ready(FIRST), *steps, *asked], grace=grace)
    assert [now for now, *_ in seen.kills] == [250, 250 + seconds]
    assert seen.said == [
        f"stopping: the tasks finish their current steps and write a checkpoint (at most {seconds:g} s)"
    ]


def test_a_task_that_the_kernel_does_not_end_is_given_up() -> None:
    history = [*ready(FIRST), (2, Signalled(INT)), (4, Signalled(INT)), (13.9, Tick()), (14, Tick())]
    seen = replay({FIRST: Role.TRAIN}, history)
    assert [(now, action) for now, action in seen.actions if isinstance(action, Abandon)] == [(14, Abandon(FIRST))]
    assert replay({FIRST: Role.TRAIN}, [*history, *killed(FIRST, at=14)]).state is RunState.OVER


@pytest.mark.parametrize(
    ("signals", "given_up_at"),
    [
        ([(2, TERM)], 20.5),
        ([(2, HUP), (9, TERM)], 20.5),
        ([(2, TERM), (9, INT), (10, INT)], 20),  # killed at 10, and ten seconds are over before
        ([(2, TERM), (17, INT), (18, INT)], 20.5),
        ([(2, INT), (12, INT), (13, TERM)], 22),  # killed at 12
        ([(2, INT), (3, TERM)], 21.5),
        ([(2, INT), (40, INT)], 32),  # killed at 22, and nobody has set a bound
    ],
)
def test_what_the_kernel_does_not_end_is_given_up_within_the_grace(
    signals: list[tuple[float, int]], given_up_at: float
) -> None:
    asked: Moments = [(at, Signalled(number)) for at, number in signals]
    times: Moments = [(quarter / 4, Tick()) for quarter in range(8, 200)]
    history = sorted([*ready(FIRST), *asked, *times], key=lambda moment: moment[0])
    seen = replay({FIRST: Role.TRAIN}, history, grace=20)
    first, *_ = (now for now, action in seen.actions if isinstance(action, Abandon))
    assert first == given_up_at


def test_a_killed_task_has_half_a_second_to_disappear_however_short_the_grace_is() -> None:
    history: Moments = [*ready(FIRST), (2, Signalled(TERM)), (2.05, Tick()), (2.54, Tick()), (2.55, Tick())]
    seen = replay({FIRST: Role.TRAIN}, history, grace=0.1)
    assert seen.kills == [(2, "worker:0", "SIGTERM"), (2.05, "worker:0", "SIGKILL")]
    assert [(now, action) for now, action in seen.actions if isinstance(action, Abandon)] == [(2.55, Abandon(FIRST))]


def test_a_stop_of_a_run_that_has_failed_before_is_bounded_by_the_grace_as_well() -> None:
    history: Moments = [*ready(FIRST, SECOND), *killed(SECOND, at=10), (11, Signalled(TERM)), *ticks(12, 40)]
    seen = replay(SYNC, history, grace=3)
    assert [(now, signal) for now, _, signal in seen.kills] == [(10, "SIGTERM"), (11, "SIGTERM"), (13, "SIGKILL")]
    assert next(now for now, action in seen.actions if isinstance(action, Abandon)) == 14


def test_by_when_all_has_ended_counts_from_the_first_signal_that_is_no_ctrl_c() -> None:
    history: Moments = [*ready(FIRST), (2, Signalled(INT))]
    assert replay({FIRST: Role.TRAIN}, history).supervisor.end_by == math.inf
    history += [(9, Signalled(HUP)), (12, Signalled(TERM))]
    assert replay({FIRST: Role.TRAIN}, history).supervisor.end_by == 29


def test_a_ctrl_c_leaves_no_less_than_a_term_would() -> None:
    seen = replay({FIRST: Role.TRAIN}, [*ready(FIRST), (2, Signalled(INT)), (58.9, Tick()), (59, Tick())], grace=60)
    assert seen.kills == [(2, "worker:0", "SIGTERM"), (59, "worker:0", "SIGKILL")]


def test_a_ctrl_c_leaves_twice_as_long_as_the_longest_call_takes() -> None:
    steps: Moments = [(second, Reported(FIRST, "progress", {"step": second})) for second in (2.0, 22.0, 42.0)]
    history = [*ready(FIRST), *steps, (50, Signalled(signal.SIGINT)), (104.9, Tick())]
    seen = replay({FIRST: Role.TRAIN}, history)
    assert [now for now, *_ in seen.kills] == [50]
    limit = "at most 55 s; Ctrl-C again ends them at once"
    assert seen.said == [f"stopping: the tasks finish their current steps and write a checkpoint ({limit})"]


def test_errors_of_tasks_that_were_asked_to_stop_are_no_cause() -> None:
    asked: Moments = [*ready(FIRST, SECOND), (2, Signalled(signal.SIGTERM))]
    seen = replay(SYNC, [*asked, (3, Exited(FIRST, 1, error())), (3, Exited(SECOND, 143))])
    assert seen.supervisor.cause is None
    assert seen.state is RunState.OVER
    assert not seen.supervisor.done


def test_a_signal_after_the_end_only_hastens_it() -> None:
    done: Moments = [*ready(*ASYNC), (3, Reported(CHIEF, "result", {})), (4, Exited(CHIEF, 0))]
    seen = replay(ASYNC, [*done, (4.5, Signalled(signal.SIGINT)), *obeyed(PS, FIRST, at=5)])
    assert seen.supervisor.done
    assert len(seen.kills) == 2


# By a signal, while tasks restart


def test_a_signal_while_the_cluster_waits_for_a_restart_ends_the_run_at_once() -> None:
    history: Moments = [*trained(SYNC), *WAITING, (10.5, Signalled(signal.SIGINT))]
    seen = replay(SYNC, history, budget=3)
    assert seen.state is RunState.OVER
    assert (seen.supervisor.stopped_by, seen.supervisor.cause) == (signal.SIGINT, None)
    assert replay(SYNC, [*history, *LATER], budget=3).restarts == []


def test_a_signal_while_the_cluster_waits_for_a_restart_asks_the_evaluator() -> None:
    history: Moments = [*trained(EVALUATED), *WAITING, (10.5, Signalled(signal.SIGTERM))]
    seen = replay(EVALUATED, history, budget=3)
    assert seen.state is RunState.STOPPING
    assert seen.kills[1:] == [(10.5, "evaluator:0", "SIGTERM")]
    seen = replay(EVALUATED, [*history, (11, Exited(EVALUATOR, AGREED_STOP)), *LATER], budget=3)
    assert seen.state is RunState.OVER
    assert seen.restarts == []


def test_a_signal_while_a_worker_waits_cancels_its_restart() -> None:
    history: Moments = [*trained(ASYNC), *killed(FIRST, at=10), (10.5, Signalled(signal.SIGTERM))]
    gone: Moments = [(11.5, Exited(CHIEF, AGREED_STOP)), *obeyed(PS, at=11.5), *LATER]
    seen = replay(ASYNC, [*history, *gone], budget=3)
    assert seen.kills == [(10.5, "chief:0", "SIGTERM")]  # which saves, needs the ps for that, and then ends it
    assert seen.restarts == []
    assert (seen.state, seen.supervisor.cause) == (RunState.OVER, None)


def test_a_signal_while_the_cluster_is_stopped_cancels_the_restart() -> None:
    history: Moments = [*trained(SYNC), *killed(SECOND, at=10), (10.5, Signalled(signal.SIGTERM))]
    seen = replay(SYNC, [*history, (10.5 + STOP_GRACE, Tick()), *killed(FIRST, at=16), *LATER], budget=3)
    assert seen.kills == [
        (10, "worker:0", "SIGTERM"),
        (10.5, "worker:0", "SIGTERM"),
        (10.5 + STOP_GRACE, "worker:0", "SIGKILL"),
    ]
    assert seen.state is RunState.OVER
    assert seen.restarts == []


# By tasks that agreed to


def test_an_agreed_stop_has_the_exit_code_of_a_task_that_sigterm_ended() -> None:
    assert AGREED_STOP == 143


@pytest.mark.parametrize("moment", [[], trained(SYNC)], ids=["forming", "training"])
def test_tasks_that_agreed_to_stop_stop_the_run_which_has_not_failed(moment: Moments) -> None:
    history: Moments = [*moment, (10, Exited(SECOND, AGREED_STOP)), (11, Exited(FIRST, AGREED_STOP)), *LATER]
    seen = replay(SYNC, history, budget=3)
    supervisor = seen.supervisor
    assert seen.kills == [(10, "worker:0", "SIGTERM")]
    assert seen.restarts == []
    assert (supervisor.state, supervisor.stopped_by, supervisor.cause) == (RunState.OVER, signal.SIGTERM, None)
    assert supervisor.tasks == {FIRST: TaskState.STOPPED, SECOND: TaskState.STOPPED}
    assert not supervisor.done


def test_an_error_with_the_code_of_an_agreed_stop_is_still_a_failure() -> None:
    history: Moments = [*trained(SYNC), (10, Exited(SECOND, AGREED_STOP, error(code=AGREED_STOP)))]
    seen = replay(SYNC, history, budget=3)
    assert seen.supervisor.stopped_by is None
    assert seen.cause.exit_code == AGREED_STOP


def test_a_task_that_agreed_to_stop_while_all_are_stopped_does_not_prevent_the_restart() -> None:
    history: Moments = [*trained(SYNC), *killed(SECOND, at=10), (10.5, Exited(FIRST, AGREED_STOP)), (12, Tick())]
    assert replay(SYNC, history, budget=1).restarts == [(12, FIRST, 2), (12, SECOND, 2)]


def test_an_agreed_stop_after_the_leaders_end_is_no_stop() -> None:
    done: Moments = [(3, Reported(CHIEF, "result", {})), (4, Exited(CHIEF, 0)), (5, Exited(PS, AGREED_STOP))]
    supervisor = replay(ASYNC, [*trained(ASYNC), *done, (5, Exited(FIRST, 0))], budget=1).supervisor
    assert supervisor.done
    assert supervisor.stopped_by is None
