"""The rules of a cluster's containers, replayed without an engine."""

from __future__ import annotations

import pytest

from launcher.contract.roles import Quorum, Role
from launcher.contract.task import Task
from launcher.engines.compose.supervisor import (
    LEAVE_GRACE,
    LOSS_GRACE,
    PAUSE_GRACE,
    Container,
    ContainerSupervisor,
    RestartContainer,
)
from launcher.supervise.events import Say
from launcher.supervise.restarts import HEALTHY

CHIEF, FIRST, SECOND, PS = Task("chief", 0), Task("worker", 0), Task("worker", 1), Task("ps", 0)
EVALUATOR = Task("evaluator", 0)
SYNC: dict[Task, Role] = {FIRST: Role.TRAIN, SECOND: Role.TRAIN, EVALUATOR: Role.EVALUATE}
ASYNC: dict[Task, Role] = {CHIEF: Role.COORDINATE, FIRST: Role.COMPUTE, SECOND: Role.COMPUTE, PS: Role.SERVE}
START_TIMEOUT = 60.0
BOUND = START_TIMEOUT + LOSS_GRACE


class Cluster:
    """A watch, and an engine that says what a test wants."""

    def __init__(self, roles: dict[Task, Role], leader: Task, restarts: int = 3, fewest: int = 0) -> None:
        self.watch = ContainerSupervisor(roles, Quorum.of(roles, fewest, leader), restarts, START_TIMEOUT)
        self.containers = {task: Container(task.slug, "running") for task in roles}
        self.said: list[str] = []
        self.started: list[Task] = []
        self.killed: list[Task] = []

    def look(self, now: float = 0.0) -> None:
        for action in self.watch.observe(self.containers, now):
            match action:
                case Say(text):
                    self.said.append(text)
                case RestartContainer(task, kill):
                    self.started.append(task)
                    self.killed += [task] if kill else []
                    self.containers[task] = Container(task.slug, "running")

    def end(self, task: Task, code: int, now: float = 0.0) -> None:
        self.containers[task] = Container(task.slug, "exited", code)
        self.look(now)

    def set(self, task: Task, state: str, code: int = 0, now: float = 0.0) -> None:
        self.containers[task] = Container(task.slug, state, code)
        self.look(now)

    @property
    def outcome(self) -> tuple[bool, int, str]:
        cause = self.watch.cause
        return self.watch.over, self.watch.exit_code, f"{cause[0]}: {cause[1]}" if cause else ""


def sync(restarts: int = 3) -> Cluster:
    return Cluster(SYNC, FIRST, restarts)


def asynchronous(restarts: int = 3) -> Cluster:
    return Cluster(ASYNC, CHIEF, restarts)


# The end


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130, 143])
def test_the_leaders_decision_is_the_runs(code: int) -> None:
    cluster = sync()
    for task in (SECOND, EVALUATOR, FIRST):
        cluster.end(task, 0 if task != FIRST else code)
    assert cluster.outcome == (True, code, "")
    assert not cluster.said
    assert not cluster.started


def test_the_others_have_time_to_leave_and_no_more() -> None:
    cluster = sync()
    cluster.end(FIRST, 0, now=10)
    cluster.look(10 + LEAVE_GRACE - 1)
    assert not cluster.watch.over
    cluster.look(10 + LEAVE_GRACE)
    assert cluster.outcome == (True, 0, "")


def test_a_container_that_is_killed_while_leaving_stays_so() -> None:
    cluster = sync()
    cluster.end(FIRST, 0)
    cluster.end(SECOND, 137)
    assert not cluster.started
    cluster.end(EVALUATOR, 1)
    assert cluster.outcome == (True, 0, "")


def test_a_ps_and_a_worker_may_leave_before_the_leader() -> None:
    cluster = asynchronous()
    cluster.end(PS, 0)
    cluster.end(FIRST, 0, now=1)
    cluster.look(1 + BOUND)
    assert not cluster.watch.over


def test_a_leader_that_ends_as_no_launcher_does_is_a_failure_by_name() -> None:
    cluster = sync()
    cluster.end(FIRST, 127)
    cluster.look(LEAVE_GRACE)
    assert cluster.outcome == (True, 1, "worker:0: its container ended with exit code 127")


def test_a_leader_whose_container_is_removed_is_a_failure_by_name() -> None:
    cluster = sync()
    del cluster.containers[FIRST]
    cluster.look()
    cluster.look(LEAVE_GRACE)
    assert cluster.outcome == (True, 1, "worker:0: its container was removed")


# Starting again


@pytest.mark.parametrize("code", [129, 134, 137, 139])
def test_a_container_that_a_signal_ended_starts_again(code: int) -> None:
    cluster = sync()
    cluster.end(SECOND, code)
    assert cluster.started == [SECOND]
    assert cluster.said == [f"worker:1: its container was killed (exit code {code}); restarted (1 of 3)"]
    cluster.look(BOUND)
    assert not cluster.watch.over


def test_so_does_the_leaders() -> None:
    cluster = sync()
    cluster.end(FIRST, 137)
    assert cluster.started == [FIRST]
    cluster.end(FIRST, 0)
    assert not cluster.watch.cause


def test_ten_minutes_without_a_restart_make_the_budget_whole_again() -> None:
    cluster = sync(restarts=1)
    for number in range(3):
        cluster.end(SECOND, 137, now=number * HEALTHY)
    assert cluster.started == [SECOND] * 3
    cluster.end(SECOND, 137, now=3 * HEALTHY - 1)
    assert cluster.started == [SECOND] * 3


@pytest.mark.parametrize(
    ("memory", "limit"), [(512 << 20, "limit of the container: 512 MiB"), (0, "the container has no limit")]
)
def test_a_container_that_was_killed_when_its_memory_had_run_out_says_so_and_its_restarts_count_to_the_end(
    memory: int, limit: str
) -> None:
    cluster = sync(restarts=2)
    for number in range(3):
        cluster.containers[SECOND] = Container("worker-1", "exited", 137, out_of_memory=True, memory=memory)
        cluster.look(number * HEALTHY)
    assert cluster.started == [SECOND] * 2
    over, code, cause = cluster.outcome
    assert (over, code) == (True, 1)
    killed = "worker:1: its container was killed (exit code 137), and memory had run out in it"
    assert cause.startswith(f"{killed} ({limit}); run fewer tasks on this machine, ")
    assert cause.endswith("; restarts exhausted (run.restarts: 2)")


def test_the_budget_is_that_of_the_whole_run() -> None:
    cluster = sync(restarts=2)
    cluster.end(SECOND, 137)
    cluster.end(FIRST, 137)
    cluster.end(SECOND, 137)
    assert cluster.started == [SECOND, FIRST]
    error = "worker:1: its container was killed (exit code 137); restarts exhausted (run.restarts: 2)"
    assert cluster.outcome == (True, 1, error)


@pytest.mark.parametrize("task", [FIRST, SECOND])
def test_without_restarts_the_first_kill_ends_the_run(task: Task) -> None:
    cluster = sync(restarts=0)
    cluster.end(task, 137)
    cluster.look(LEAVE_GRACE)
    assert cluster.outcome == (True, 1, f"{task}: its container was killed (exit code 137)")


def test_a_kill_is_the_cause_although_the_leader_failed_of_it_before_anyone_looked() -> None:
    cluster = sync(restarts=0)
    cluster.containers[SECOND] = Container(SECOND.slug, "exited", 137)
    cluster.end(FIRST, 1)
    cluster.look(LEAVE_GRACE)
    assert cluster.outcome == (True, 1, f"{SECOND}: its container was killed (exit code 137)")


@pytest.mark.parametrize("state", ["created", "restarting", "removing"])
def test_what_the_engine_or_a_person_does_with_a_container_is_left_alone(state: str) -> None:
    cluster = sync()
    cluster.set(SECOND, state, 137)
    cluster.set(SECOND, state, 137, now=10 * BOUND)
    assert not cluster.started
    assert not cluster.watch.over


# Paused


def test_a_container_that_is_paused_for_a_moment_is_left_alone() -> None:
    cluster = sync()
    cluster.set(SECOND, "paused")
    cluster.set(SECOND, "paused", now=PAUSE_GRACE - 1)
    cluster.set(SECOND, "running", now=PAUSE_GRACE)
    cluster.set(SECOND, "paused", now=PAUSE_GRACE + 1)
    cluster.set(SECOND, "paused", now=2 * PAUSE_GRACE)
    assert not cluster.started
    assert not cluster.said


@pytest.mark.parametrize("task", [FIRST, SECOND, EVALUATOR])
def test_a_container_that_stays_paused_is_killed_and_starts_again(task: Task) -> None:
    cluster = sync()
    cluster.set(task, "paused")
    cluster.set(task, "paused", now=PAUSE_GRACE)
    assert (cluster.started, cluster.killed) == ([task], [task])
    assert cluster.said == [f"{task}: its container was paused for {PAUSE_GRACE:g} s; restarted (1 of 3)"]


def test_without_restarts_a_container_that_stays_paused_ends_the_run() -> None:
    cluster = sync(restarts=0)
    cluster.set(SECOND, "paused")
    cluster.set(SECOND, "paused", now=PAUSE_GRACE)
    assert cluster.outcome == (True, 1, f"{SECOND}: its container was paused for {PAUSE_GRACE:g} s")


# Losses


@pytest.mark.parametrize(("code", "exit_code"), [(1, 1), (2, 2), (3, 3), (126, 1)])
def test_the_leader_has_time_to_notice_a_loss_and_the_driver_gives_up_after_it(code: int, exit_code: int) -> None:
    cluster = sync()
    cluster.end(SECOND, code, now=5)
    assert not cluster.started
    cluster.look(5 + BOUND - 1)
    assert not cluster.watch.over
    cluster.look(5 + BOUND)
    error = f"worker:1: its container ended with exit code {code}, and worker:0 did not end within 120 s"
    assert cluster.outcome == (True, exit_code, error)


def test_a_leader_that_notices_decides() -> None:
    cluster = sync()
    cluster.end(SECOND, 1)
    cluster.end(FIRST, 3, now=BOUND - 1)
    cluster.look(BOUND - 1 + LEAVE_GRACE)
    assert cluster.outcome == (True, 3, "")


def test_a_container_that_somebody_removes_is_a_loss() -> None:
    cluster = asynchronous()
    del cluster.containers[PS]
    cluster.look()
    cluster.look(BOUND)
    assert cluster.outcome == (True, 1, "ps:0: its container was removed, and chief:0 did not end within 120 s")


def test_an_asynchronous_worker_that_stays_dead_fails_nobody() -> None:
    cluster = asynchronous(restarts=1)
    cluster.end(FIRST, 137)
    cluster.end(FIRST, 137)
    cluster.end(SECOND, 1)
    cluster.look(10 * BOUND)
    assert not cluster.watch.over
    assert cluster.said[1:] == [
        "worker:0: its container was killed (exit code 137); restarts exhausted (run.restarts: 1); the others continue"
    ]


def test_an_evaluator_that_stays_dead_fails_nobody() -> None:
    cluster = sync()
    cluster.end(EVALUATOR, 1)
    cluster.look(10 * BOUND)
    assert not cluster.watch.over


def test_a_worker_beyond_the_fewest_may_stay_dead_and_the_next_one_not() -> None:
    third = Task("worker", 2)
    cluster = Cluster({FIRST: Role.TRAIN, SECOND: Role.TRAIN, third: Role.TRAIN}, FIRST, restarts=1, fewest=2)
    cluster.end(SECOND, 137)
    assert cluster.started == [SECOND]
    cluster.end(SECOND, 137, now=1.0)
    assert cluster.said[-1] == (
        "worker:1: its container was killed (exit code 137); restarts exhausted (run.restarts: 1); the others continue"
    )
    assert not cluster.watch.over
    cluster.end(third, 137, now=2.0)
    assert cluster.watch.over
    assert cluster.watch.exit_code == 1


def test_the_leader_is_never_beyond_the_fewest() -> None:
    cluster = Cluster({FIRST: Role.TRAIN, SECOND: Role.TRAIN}, FIRST, restarts=0, fewest=1)
    cluster.end(FIRST, 137)
    assert cluster.outcome == (True, 1, "worker:0: its container was killed (exit code 137)")
