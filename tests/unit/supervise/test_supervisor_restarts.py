"""Which deaths start what again, and when: the Supervisor by recorded histories, its pauses 1, 2, 4... seconds."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.supervise.events import Exited, Record, RunState, Seen, Start, TaskState, Tick, Told
from launcher.supervise.hangs import LOOK_GRACE
from launcher.supervise.stopping import STOP_GRACE
from launcher.supervise.supervisor import CAUSE_GRACE
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
    trained,
)

# Of a synchronous cluster: one is killed at 10, the other has followed at 11, and the pause is over at 12.
LOST: Moments = [*trained(SYNC, FIRST), (10, Exited(SECOND, -9)), (11, Exited(FIRST, -15))]
AGAIN: Moments = [*LOST, (12, Tick())]


# The whole gang


def test_a_death_in_a_synchronous_cluster_restarts_all_of_it_after_the_pause() -> None:
    seen = replay(SYNC, FIRST, [*LOST, (11.9, Tick())], budget=3)
    assert seen.kills == [(10, "worker:0", "SIGTERM")]
    assert seen.supervisor.state is RunState.RESTARTING
    assert seen.restarts == []
    seen = replay(SYNC, FIRST, AGAIN, budget=3)
    assert seen.restarts == [(12, FIRST, 2), (12, SECOND, 2)]
    assert seen.supervisor.state is RunState.FORMING
    assert seen.supervisor.attempts == {FIRST: 2, SECOND: 2}


@pytest.mark.parametrize(
    ("roles", "leader", "dead"),
    [(SYNC, FIRST, FIRST), (SYNC, FIRST, SECOND), (ASYNC, CHIEF, CHIEF), (ASYNC, CHIEF, PS)],
)
def test_without_it_nobody_can_go_on_so_all_start_again(roles: Mapping[Task, Role], leader: Task, dead: Task) -> None:
    others: Moments = [(11, Exited(task, -15)) for task in roles if task != dead]
    seen = replay(roles, leader, [*trained(roles, leader), (10, Exited(dead, -9)), *others, (12, Tick())], budget=1)
    assert seen.kills == [(10, str(task), "SIGTERM") for task in roles if task != dead]
    assert seen.restarts == [(12, task, 2) for task in roles]


def test_who_ignores_the_end_is_killed_before_the_restart() -> None:
    deaf: Moments = [(10 + STOP_GRACE, Tick()), (16, Exited(FIRST, -9)), (17, Tick())]
    seen = replay(SYNC, FIRST, [*trained(SYNC, FIRST), (10, Exited(SECOND, -9)), *deaf], budget=1)
    assert seen.kills == [(10, "worker:0", "SIGTERM"), (10 + STOP_GRACE, "worker:0", "SIGKILL")]
    assert seen.restarts == [(17, FIRST, 2), (17, SECOND, 2)]


def test_a_restart_is_announced_with_its_cause_its_pause_and_what_is_left() -> None:
    seen = replay(SYNC, FIRST, LOST, budget=3)
    assert seen.said == ["worker:1: killed by SIGKILL; attempt 2 starts in 1.0 s (restart 1 of 3)"]


def test_the_events_of_a_restart_tell_its_states_in_order() -> None:
    assert replay(SYNC, FIRST, AGAIN, budget=3).records[-7:] == [
        Record(SECOND, "failed", "killed by SIGKILL"),
        Record(None, "stopping", "worker:1: killed by SIGKILL"),
        Record(FIRST, "stopped", "killed by SIGTERM"),
        Record(None, "restarting", "worker:1: killed by SIGKILL"),
        Record(None, "forming"),
        Record(FIRST, "started"),
        Record(SECOND, "started"),
    ]


def test_a_restarted_cluster_trains_to_its_end_like_a_first_one() -> None:
    history: Moments = [
        *AGAIN,
        *ready(FIRST, SECOND, at=14),
        (15, Told(FIRST, "progress", {"step": 2})),
        (16, Told(FIRST, "result", {"steps": 2})),
        (17, Exited(SECOND, 0)),
        (17, Exited(FIRST, 0)),
    ]
    supervisor = replay(SYNC, FIRST, history, budget=1).supervisor
    assert supervisor.state is RunState.OVER
    assert supervisor.done
    assert supervisor.cause is None
    assert supervisor.progress.first_step_at == 2


def test_a_death_before_the_first_step_of_a_later_attempt_restarts_once_more_after_twice_the_pause() -> None:
    history: Moments = [*AGAIN, (13, Exited(FIRST, -9)), (13, Exited(SECOND, -15)), (14.9, Tick()), (15, Tick())]
    seen = replay(SYNC, FIRST, history, budget=3)
    assert seen.restarts == [(12, FIRST, 2), (12, SECOND, 2), (15, FIRST, 3), (15, SECOND, 3)]
    assert seen.said[1] == "worker:0: killed by SIGKILL; attempt 3 starts in 2.0 s (restart 2 of 3)"


def test_what_an_attempt_told_of_its_end_does_not_count_in_the_next() -> None:
    told: Moments = [(9, Told(FIRST, "result", {"steps": 1}))]
    history: Moments = [*LOST[:-2], *told, *LOST[-2:], (12, Tick()), *ready(FIRST, SECOND, at=13)]
    supervisor = replay(SYNC, FIRST, history, budget=1).supervisor
    assert supervisor.result is None
    supervisor = replay(SYNC, FIRST, [*history, (14, Exited(FIRST, 0))], budget=1).supervisor
    assert supervisor.cause is not None
    assert supervisor.cause.error.startswith("ended with exit code 0 before the run was over")


def test_a_restarted_cluster_has_the_start_timeout_anew() -> None:
    history: Moments = [*trained(SYNC, FIRST), (90, Exited(SECOND, -9)), (90, Exited(FIRST, -15)), (91, Tick())]
    seen = replay(SYNC, FIRST, [*history, (160, Tick())], budget=1)
    assert seen.supervisor.state is RunState.FORMING
    seen = replay(SYNC, FIRST, [*history, (161, Tick()), (161 + LOOK_GRACE, Tick())], budget=1)
    assert seen.supervisor.cause is not None
    assert seen.supervisor.cause.exit_code == 3


def test_a_stall_restarts_all_and_the_stall_timeout_counts_anew() -> None:
    history: Moments = [
        *trained(SYNC, FIRST),
        (302, Tick()),
        (302, Seen(FIRST)),
        (302, Seen(SECOND, where="train.py:3 (dataset)")),
        (303, Exited(FIRST, -15)),
        (303, Exited(SECOND, -15)),
        (304, Tick()),
        *ready(FIRST, SECOND, at=310),
        (609, Tick()),
    ]
    seen = replay(SYNC, FIRST, history, budget=1)
    how = "worker:1 is behind, at step 0 of 1, in train.py:3 (dataset); the logs have the stacks of all threads"
    again = "attempt 2 starts in 1.0 s (restart 1 of 1)"
    assert seen.said == [f"worker:1: no step for 300 s (run.stall_timeout): {how}; {again}"]
    assert seen.restarts == [(304, FIRST, 2), (304, SECOND, 2)]
    assert seen.supervisor.state is RunState.TRAINING
    assert replay(SYNC, FIRST, [*history, (610, Tick()), (616, Tick())], budget=1).supervisor.state is RunState.STOPPING


def test_a_resumed_run_goes_on_counting_where_it_was() -> None:
    seen = replay(SYNC, FIRST, AGAIN, budget=1, first_attempt=4)
    assert [action for _, action in seen.actions if isinstance(action, Start)][:2] == [
        Start(FIRST, 4),
        Start(SECOND, 4),
    ]
    assert seen.restarts == [(12, FIRST, 5), (12, SECOND, 5)]


# Whose cause it is


def test_the_announcement_names_the_death_and_not_a_peers_error_though_its_time_is_earlier() -> None:
    peers = Exited(FIRST, 1, error("UnavailableError", consequence=True), time_ns=10)
    history: Moments = [*trained(SYNC, FIRST), (10, Exited(SECOND, -9, time_ns=20)), (10, peers)]
    seen = replay(SYNC, FIRST, history, budget=1)
    assert seen.said == ["worker:1: killed by SIGKILL; attempt 2 starts in 1.0 s (restart 1 of 1)"]


def test_the_cause_of_one_restart_is_not_that_of_the_end() -> None:
    history: Moments = [*AGAIN, *ready(FIRST, SECOND, at=13), (14, lost(FIRST)), (14, lost(SECOND))]
    supervisor = replay(SYNC, FIRST, history, budget=1).supervisor
    assert supervisor.state is RunState.OVER
    assert supervisor.cause is not None
    assert supervisor.cause.error == "UnavailableError: no; run.restarts (1) are used up"


def test_a_loss_elsewhere_restarts_the_tasks_here_even_before_the_first_step() -> None:
    # The launcher of the one that died does the same, and they meet again.
    seen = replay({SECOND: Role.TRAIN}, FIRST, [(5, lost(SECOND)), (6, Tick())], budget=1)
    assert seen.restarts == [(6, SECOND, 2)]


def test_where_the_leader_is_elsewhere_a_cluster_that_has_formed_counts_as_trained() -> None:
    history: Moments = [*ready(SECOND), (5, Exited(SECOND, -9)), (6, Tick())]
    assert replay({SECOND: Role.TRAIN}, FIRST, history, budget=1).restarts == [(6, SECOND, 2)]
    assert replay({SECOND: Role.TRAIN}, FIRST, history[1:], budget=1).restarts == []


# One alone


def test_an_asynchronous_worker_restarts_alone() -> None:
    history: Moments = [*trained(ASYNC, CHIEF), (10, Exited(FIRST, -9)), (10.9, Tick()), (11, Tick())]
    seen = replay(ASYNC, CHIEF, history, budget=3)
    assert seen.kills == []
    assert seen.restarts == [(11, FIRST, 2)]
    assert seen.said == ["worker:0: killed by SIGKILL; attempt 2 starts in 1.0 s (restart 1 of 3)"]
    assert seen.supervisor.state is RunState.TRAINING
    assert seen.supervisor.attempts == {CHIEF: 1, FIRST: 2, PS: 1}
    assert seen.supervisor.cause is None


def test_attempts_are_counted_for_each_task_and_a_gang_goes_on_from_the_highest() -> None:
    alone: Moments = [(10, Exited(FIRST, -9)), (11, Tick()), (20, Exited(FIRST, -9)), (22, Tick())]
    history: Moments = [*trained(ASYNC, CHIEF), *alone]
    assert replay(ASYNC, CHIEF, history, budget=3).supervisor.attempts == {CHIEF: 1, FIRST: 3, PS: 1}
    history += [(30, Exited(PS, -9)), (30, Exited(CHIEF, -15)), (30, Exited(FIRST, -15)), (34, Tick())]
    seen = replay(ASYNC, CHIEF, history, budget=3)
    assert seen.restarts[-3:] == [(34, CHIEF, 4), (34, FIRST, 4), (34, PS, 4)]
    assert seen.said[-1] == "ps:0: killed by SIGKILL; attempt 4 starts in 4.0 s (restart 3 of 3)"


def test_an_asynchronous_worker_that_follows_another_does_not_restart_alone() -> None:
    seen = replay(ASYNC, CHIEF, [*trained(ASYNC, CHIEF), (10, lost(FIRST)), (10 + CAUSE_GRACE, Tick())], budget=1)
    assert seen.supervisor.state is RunState.STOPPING
    assert seen.kills == [(10 + CAUSE_GRACE, "chief:0", "SIGTERM"), (10 + CAUSE_GRACE, "ps:0", "SIGTERM")]


def test_an_asynchronous_worker_of_a_cluster_that_forms_again_restarts_all_of_it() -> None:
    all_gone: Moments = [(10, Exited(PS, -9)), (10, Exited(CHIEF, -15)), (10, Exited(FIRST, -15)), (11, Tick())]
    seen = replay(ASYNC, CHIEF, [*trained(ASYNC, CHIEF), *all_gone, (12, Exited(FIRST, -9))], budget=2)
    assert seen.kills[2:] == [(12, "chief:0", "SIGTERM"), (12, "ps:0", "SIGTERM")]


def test_an_evaluator_restarts_alone_also_in_a_synchronous_cluster() -> None:
    history: Moments = [*trained(EVALUATED, FIRST), (10, Exited(EVALUATOR, -9)), (11, Tick())]
    seen = replay(EVALUATED, FIRST, history, budget=1)
    assert seen.kills == []
    assert seen.restarts == [(11, EVALUATOR, 2)]
    assert seen.supervisor.state is RunState.TRAINING


def test_an_evaluator_restarts_alone_while_the_gang_forms_again() -> None:
    gone: Moments = [(10, Exited(SECOND, -9)), (10, Exited(FIRST, -15)), (11, Tick())]
    history: Moments = [*trained(EVALUATED, FIRST), *gone, (12, Exited(EVALUATOR, -9)), (14, Tick())]
    seen = replay(EVALUATED, FIRST, history, budget=2)
    assert seen.restarts == [(11, FIRST, 2), (11, SECOND, 2), (14, EVALUATOR, 2)]
    assert seen.supervisor.state is RunState.FORMING


def test_an_evaluator_outlives_a_restart_of_the_gang() -> None:
    gone: Moments = [(10, Exited(SECOND, -9)), (11, Exited(FIRST, -15)), (12, Tick())]
    seen = replay(EVALUATED, FIRST, [*trained(EVALUATED, FIRST), *gone], budget=1)
    assert seen.kills == [(10, "worker:0", "SIGTERM")]
    assert seen.restarts == [(12, FIRST, 2), (12, SECOND, 2)]
    assert seen.supervisor.tasks[EVALUATOR] is TaskState.READY
    assert seen.supervisor.attempts == {FIRST: 2, SECOND: 2, EVALUATOR: 1}


def test_an_evaluator_that_leaves_while_the_gang_waits_holds_nothing_up() -> None:
    gone: Moments = [(10, Exited(SECOND, -9)), (10, Exited(FIRST, -15)), (10.5, Exited(EVALUATOR, 0)), (11, Tick())]
    seen = replay(EVALUATED, FIRST, [*trained(EVALUATED, FIRST), *gone], budget=1)
    assert seen.restarts == [(11, FIRST, 2), (11, SECOND, 2)]


def test_a_launcher_of_an_evaluator_alone_restarts_it() -> None:
    history: Moments = [*ready(EVALUATOR), (10, Exited(EVALUATOR, -9)), (10.5, Tick()), (11, Tick())]
    seen = replay({EVALUATOR: Role.EVALUATE}, CHIEF, history, budget=1)
    assert seen.restarts == [(11, EVALUATOR, 2)]
    assert seen.supervisor.state is RunState.TRAINING


def test_a_launcher_of_an_asynchronous_worker_alone_restarts_it() -> None:
    history: Moments = [*ready(FIRST), (10, Exited(FIRST, -9)), (10.5, Tick()), (11, Tick())]
    seen = replay({FIRST: Role.COMPUTE}, CHIEF, history, budget=1)
    assert seen.restarts == [(11, FIRST, 2)]
    assert seen.supervisor.state is RunState.TRAINING
