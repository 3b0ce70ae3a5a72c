"""Which failures restart which tasks, and when: recorded histories; the pauses are 1, 2, 4... seconds."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.supervise.events import Exited, Inspected, Record, Reported, RunState, TaskState, Tick
from launcher.supervise.hangs import INSPECTION_GRACE
from launcher.supervise.shutdown import STOP_GRACE
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
    killed,
    lost,
    obeyed,
    ready,
    replay,
    ticks,
    trained,
)

# Of a synchronous cluster: one is killed at 10, the other has followed at 11, and the pause is over at 12.
GONE: Moments = [*killed(SECOND, at=10), *obeyed(FIRST, at=11)]
LOST: Moments = [*trained(SYNC), *GONE]
AGAIN: Moments = [*LOST, (12, Tick())]


# All tasks


def test_a_death_in_a_synchronous_cluster_restarts_all_of_it_after_the_pause() -> None:
    seen = replay(SYNC, [*LOST, (11.9, Tick())], budget=3)
    assert seen.kills == [(10, "worker:0", "SIGTERM")]
    assert seen.state is RunState.RESTARTING
    assert seen.restarts == []
    seen = replay(SYNC, AGAIN, budget=3)
    assert seen.restarts == [(12, FIRST, 2), (12, SECOND, 2)]
    assert seen.state is RunState.FORMING
    assert seen.supervisor.attempts == {FIRST: 2, SECOND: 2}


@pytest.mark.parametrize(
    ("resumed_at", "said"),
    [(0, ["no checkpoint was complete: the run begins again, without its 340 steps"]), (300, [])],
)
def test_a_restart_without_a_checkpoint_says_how_many_steps_are_lost(resumed_at: int, said: list[str]) -> None:
    met: Moments = [(13, Reported(task, "ready", {"step": resumed_at})) for task in (FIRST, SECOND)]
    steps: Moments = [(9, Reported(FIRST, "progress", {"step": 340}))]
    history: Moments = [
        *trained(SYNC),
        *steps,
        *GONE,
        (12, Tick()),
        *met,
        (14, Reported(FIRST, "progress", {"step": 341})),
    ]
    assert replay(SYNC, history, budget=3).said[1:] == said


def test_the_first_restart_begins_as_soon_as_the_last_task_has_ended() -> None:
    seen = replay(SYNC, LOST, budget=3, paused=False)
    assert seen.restarts == [(11, FIRST, 2), (11, SECOND, 2)]
    assert seen.said == ["worker:1: killed by SIGKILL; attempt 2 starts now (restart 1 of 3)"]


@pytest.mark.parametrize(("roles", "dead"), [(SYNC, FIRST), (SYNC, SECOND), (ASYNC, CHIEF), (ASYNC, PS)])
def test_all_restart_if_a_task_dies_that_the_others_need(roles: Mapping[Task, Role], dead: Task) -> None:
    others = obeyed(*(task for task in roles if task != dead), at=11)
    seen = replay(roles, [*trained(roles), *killed(dead, at=10), *others, (12, Tick())], budget=1)
    assert seen.kills == [(10, str(task), "SIGTERM") for task in roles if task != dead]
    assert seen.restarts == [(12, task, 2) for task in roles]


def test_a_task_that_ignores_sigterm_is_killed_before_the_restart() -> None:
    deaf: Moments = [(10 + STOP_GRACE, Tick()), *killed(FIRST, at=16), (17, Tick())]
    seen = replay(SYNC, [*trained(SYNC), *killed(SECOND, at=10), *deaf], budget=1)
    assert seen.kills == [(10, "worker:0", "SIGTERM"), (10 + STOP_GRACE, "worker:0", "SIGKILL")]
    assert seen.restarts == [(17, FIRST, 2), (17, SECOND, 2)]


def test_a_restart_is_announced_with_its_cause_its_pause_and_what_is_left() -> None:
    seen = replay(SYNC, LOST, budget=3)
    assert seen.said == ["worker:1: killed by SIGKILL; attempt 2 starts in 1.0 s (restart 1 of 3)"]


def test_the_announcement_names_the_death_and_not_a_consequence_though_its_time_is_earlier() -> None:
    late: Moments = [(10, Exited(SECOND, -9, time_ns=20)), (10, lost(FIRST))]
    seen = replay(SYNC, [*trained(SYNC), *late], budget=1)
    assert seen.said == ["worker:1: killed by SIGKILL; attempt 2 starts in 1.0 s (restart 1 of 1)"]


def test_the_events_of_a_restart_tell_its_states_in_order() -> None:
    assert replay(SYNC, AGAIN, budget=3).records[-7:] == [
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
        (15, Reported(FIRST, "progress", {"step": 2})),
        (16, Reported(FIRST, "result", {"steps": 2})),
        (17, Exited(SECOND, 0)),
        (17, Exited(FIRST, 0)),
    ]
    supervisor = replay(SYNC, history, budget=1).supervisor
    assert supervisor.state is RunState.OVER
    assert supervisor.done
    assert supervisor.cause is None
    assert supervisor.progress.first_step_at == 2


def test_a_death_before_the_first_step_of_a_later_attempt_restarts_once_more_after_twice_the_pause() -> None:
    history: Moments = [*AGAIN, *killed(FIRST, at=13), *obeyed(SECOND, at=13), (14.9, Tick()), (15, Tick())]
    seen = replay(SYNC, history, budget=3)
    assert seen.restarts == [(12, FIRST, 2), (12, SECOND, 2), (15, FIRST, 3), (15, SECOND, 3)]
    assert seen.said[1] == "worker:0: killed by SIGKILL; attempt 3 starts in 2.0 s (restart 2 of 3)"


def test_a_resumed_run_continues_the_count_of_attempts() -> None:
    seen = replay(SYNC, AGAIN, budget=1, first_attempt=4)
    assert seen.starts == [(0, FIRST, 4), (0, SECOND, 4), (12, FIRST, 5), (12, SECOND, 5)]


# What does not outlive a restart


def test_a_result_that_an_attempt_reported_does_not_count_in_the_next() -> None:
    told: Moments = [(9, Reported(FIRST, "result", {"steps": 1}))]
    history: Moments = [*trained(SYNC), *told, *GONE, (12, Tick()), *ready(FIRST, SECOND, at=13)]
    assert replay(SYNC, history, budget=1).supervisor.result is None
    seen = replay(SYNC, [*history, (14, Exited(FIRST, 0))], budget=1)
    assert seen.cause.error.startswith("exited with code 0 before the run was over")


def test_a_restarted_cluster_has_the_whole_start_timeout() -> None:
    history: Moments = [*trained(SYNC), *killed(SECOND, at=90), *obeyed(FIRST, at=90), (91, Tick())]
    assert replay(SYNC, [*history, (160, Tick())], budget=1).state is RunState.FORMING
    seen = replay(SYNC, [*history, (161, Tick()), (161 + INSPECTION_GRACE, Tick())], budget=1)
    assert seen.cause.exit_code == 3


def test_a_hang_restarts_all_and_the_stall_timeout_begins_again() -> None:
    history: Moments = [
        *trained(SYNC),
        (302, Tick()),
        (302, Inspected(FIRST)),
        (302, Inspected(SECOND, where="train.py:3 (dataset)")),
        *obeyed(FIRST, SECOND, at=303),
        (304, Tick()),
        *ready(FIRST, SECOND, at=310),
        (609, Tick()),
    ]
    seen = replay(SYNC, history, budget=1)
    how = "worker:1 is behind, at step 0 of 1, in train.py:3 (dataset); the logs have the stacks of all threads"
    again = "attempt 2 starts in 1.0 s (restart 1 of 1)"
    assert seen.said[0] == f"worker:1: no step for 300 s (run.stall_timeout): {how}; {again}"
    assert seen.restarts == [(304, FIRST, 2), (304, SECOND, 2)]
    assert seen.state is RunState.TRAINING
    assert replay(SYNC, [*history, (610, Tick()), (616, Tick())], budget=1).state is RunState.STOPPING


def test_steps_that_are_repeated_after_a_restart_are_progress() -> None:
    history: Moments = [
        *trained(SYNC),
        (250, Reported(FIRST, "progress", {"step": 1000})),
        *killed(SECOND, at=260),
        *obeyed(FIRST, at=260),
        (262, Tick()),
        *ready(FIRST, SECOND, at=263),
        (400, Reported(FIRST, "progress", {"step": 300})),
        (563, Reported(FIRST, "progress", {"step": 600})),
        (563, Tick()),
    ]
    seen = replay(SYNC, history, budget=3)
    assert [kill for kill in seen.kills if kill[0] > 263] == []
    assert seen.state is RunState.TRAINING


def test_the_cause_of_one_restart_is_not_that_of_the_end() -> None:
    history: Moments = [*AGAIN, *ready(FIRST, SECOND, at=13), (14, lost(FIRST)), (14, lost(SECOND))]
    seen = replay(SYNC, history, budget=1)
    assert seen.failure == ("worker:0", "UnavailableError: no; restarts exhausted (run.restarts: 1)", 1)


# The leader runs elsewhere


def test_a_loss_elsewhere_restarts_the_tasks_here_even_before_the_first_step() -> None:
    # The launcher of the task that died does the same, and they meet again.
    seen = replay({SECOND: Role.TRAIN}, [(5, lost(SECOND)), (6, Tick())], leader=FIRST, budget=1)
    assert seen.restarts == [(6, SECOND, 2)]


def test_if_the_leader_runs_elsewhere_a_cluster_that_has_formed_counts_as_trained() -> None:
    died: Moments = [*killed(SECOND, at=5), (6, Tick())]
    for history, restarts in (([*ready(SECOND), *died], [(6, SECOND, 2)]), (died, [])):
        assert replay({SECOND: Role.TRAIN}, history, leader=FIRST, budget=1).restarts == restarts


@pytest.mark.parametrize(("task", "role"), [(EVALUATOR, Role.EVALUATE), (FIRST, Role.COMPUTE)])
def test_a_launcher_of_one_task_that_can_restart_alone_restarts_it(task: Task, role: Role) -> None:
    history: Moments = [*ready(task), *killed(task, at=10), (10.5, Tick()), (11, Tick())]
    seen = replay({task: role}, history, leader=CHIEF, budget=1)
    assert seen.restarts == [(11, task, 2)]
    assert seen.state is RunState.TRAINING


# An asynchronous worker


def test_an_asynchronous_worker_restarts_alone() -> None:
    history: Moments = [*trained(ASYNC), *killed(FIRST, at=10), (10.9, Tick()), (11, Tick())]
    seen = replay(ASYNC, history, budget=3)
    assert seen.kills == []
    assert seen.restarts == [(11, FIRST, 2)]
    assert seen.said == ["worker:0: killed by SIGKILL; attempt 2 starts in 1.0 s (restart 1 of 3)"]
    assert seen.state is RunState.TRAINING
    assert seen.supervisor.attempts == {CHIEF: 1, FIRST: 2, PS: 1}
    assert seen.supervisor.cause is None


def test_attempts_are_counted_for_each_task_and_a_cluster_continues_from_the_highest() -> None:
    alone: Moments = [*killed(FIRST, at=10), (11, Tick()), *killed(FIRST, at=20), (22, Tick())]
    history: Moments = [*trained(ASYNC), *alone]
    assert replay(ASYNC, history, budget=3).supervisor.attempts == {CHIEF: 1, FIRST: 3, PS: 1}
    history += [*killed(PS, at=30), *obeyed(CHIEF, FIRST, at=30), (34, Tick())]
    seen = replay(ASYNC, history, budget=3)
    assert seen.restarts[-3:] == [(34, CHIEF, 4), (34, FIRST, 4), (34, PS, 4)]
    assert seen.said[-1] == "ps:0: killed by SIGKILL; attempt 4 starts in 4.0 s (restart 3 of 3)"


def test_an_asynchronous_worker_whose_end_is_a_consequence_does_not_restart_alone() -> None:
    seen = replay(ASYNC, [*trained(ASYNC), (10, lost(FIRST)), (10 + CAUSE_GRACE, Tick())], budget=1)
    assert seen.state is RunState.STOPPING
    assert seen.kills == [(10 + CAUSE_GRACE, "chief:0", "SIGTERM"), (10 + CAUSE_GRACE, "ps:0", "SIGTERM")]


def test_an_asynchronous_worker_of_a_cluster_that_forms_again_restarts_all_of_it() -> None:
    all_gone: Moments = [*killed(PS, at=10), *obeyed(CHIEF, FIRST, at=10), (11, Tick())]
    seen = replay(ASYNC, [*trained(ASYNC), *all_gone, *killed(FIRST, at=12)], budget=2)
    assert seen.kills[2:] == [(12, "chief:0", "SIGTERM"), (12, "ps:0", "SIGTERM")]


def test_a_worker_that_waits_to_restart_starts_with_the_others_if_all_restart() -> None:
    history: Moments = [
        *trained(ASYNC),
        *killed(FIRST, at=10),  # its pause is 8 s, since three restarts were used
        *killed(PS, at=11),
        *obeyed(CHIEF, at=11),
        *ticks(12, 60),
    ]
    seen = replay(ASYNC, history, budget=8, used=3)
    assert [(task, attempt) for _, task, attempt in seen.restarts] == [(CHIEF, 2), (FIRST, 2), (PS, 2)]
    assert seen.state is RunState.FORMING


# An evaluator


def test_an_evaluator_restarts_alone_also_in_a_synchronous_cluster() -> None:
    seen = replay(EVALUATED, [*trained(EVALUATED), *killed(EVALUATOR, at=10), (11, Tick())], budget=1)
    assert seen.kills == []
    assert seen.restarts == [(11, EVALUATOR, 2)]
    assert seen.state is RunState.TRAINING


def test_an_evaluator_outlives_a_restart_of_the_others() -> None:
    seen = replay(EVALUATED, [*trained(EVALUATED), *GONE, (12, Tick())], budget=1)
    assert seen.kills == [(10, "worker:0", "SIGTERM")]
    assert seen.restarts == [(12, FIRST, 2), (12, SECOND, 2)]
    assert seen.supervisor.tasks[EVALUATOR] is TaskState.READY
    assert seen.supervisor.attempts == {FIRST: 2, SECOND: 2, EVALUATOR: 1}


BOTH = [(12, FIRST, 2), (12, SECOND, 2)]


@pytest.mark.parametrize(
    ("history", "restarts"),
    [
        ([*killed(EVALUATOR, at=10.5), *GONE[1:], (12, Tick())], [*BOTH, (12, EVALUATOR, 2)]),
        ([*GONE[1:], *killed(EVALUATOR, at=11.5), (12, Tick())], [*BOTH, (12, EVALUATOR, 2)]),
        ([*GONE[1:], (11.5, Exited(EVALUATOR, 0)), (12, Tick())], BOTH),
        ([*GONE[1:], (12, Tick()), *killed(EVALUATOR, at=13), (15, Tick())], [*BOTH, (15, EVALUATOR, 2)]),
    ],
    ids=["killed while the others stop", "killed in the pause", "done in the pause", "killed while they form again"],
)
def test_an_evaluator_that_ends_while_the_others_restart_delays_nothing(
    history: Moments, restarts: list[tuple[float, Task, int]]
) -> None:
    seen = replay(EVALUATED, [*trained(EVALUATED), GONE[0], *history], budget=2)
    assert seen.restarts == restarts
    assert seen.state is RunState.FORMING
