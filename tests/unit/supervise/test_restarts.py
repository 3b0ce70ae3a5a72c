"""How often a run restarts, how long it waits before, and which failures a restart can help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from launcher.contract.roles import Quorum
from launcher.supervise.causes import Cause
from launcher.supervise.lost_workers import LostWorkers
from launcher.supervise.progress import Progress
from launcher.supervise.restarts import HEALTHY, Decision, RestartBudget, RestartPolicy
from tests.unit.supervise.histories import FIRST, SECOND, Paused

# The budget, and the pauses


def pauses(jitter: float, number: int = 8) -> list[float | None]:
    budget = RestartBudget(number, jitter=lambda: jitter)
    return [budget.spend() for _ in range(number)]


def test_the_first_restart_is_immediate_and_each_pause_after_it_twice_the_last_up_to_half_a_minute() -> None:
    assert pauses(0.5, 9) == [0, 1, 2, 4, 8, 16, 30, 30, 30]


def test_jitter_makes_a_pause_half_as_long_to_half_as_long_again() -> None:
    assert pauses(0.0) == [0, 0.5, 1, 2, 4, 8, 15, 15]
    assert pauses(1.0) == [0, 1.5, 3, 6, 12, 24, 45, 45]


def test_launchers_that_lose_each_other_twice_do_not_wait_equally_long() -> None:
    budgets = [RestartBudget(2) for _ in range(100)]
    assert {budget.spend() for budget in budgets} == {0}
    second = [budget.spend() for budget in budgets]
    assert all(pause is not None and 0.5 <= pause <= 1.5 for pause in second)
    assert len(set(second)) > 50


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_the_budget_is_spent_one_by_one_and_no_further(allowed: int) -> None:
    budget = RestartBudget(allowed)
    taken = [budget.spend() is not None for _ in range(allowed + 2)]
    assert taken == [True] * allowed + [False, False]
    assert budget.used == allowed


def test_a_budget_says_how_much_of_it_is_used() -> None:
    budget = RestartBudget(3)
    budget.spend()
    budget.spend()
    assert str(budget) == "restart 2 of 3"


def test_after_ten_minutes_of_steps_the_budget_is_full_again_and_there_is_no_pause() -> None:
    budget = RestartBudget(2, jitter=lambda: 0.5)
    assert [budget.spend(), budget.spend(), budget.spend()] == [0, 1, None]
    assert [budget.note_training(now) for now in (100.0, 99.0 + HEALTHY)] == [False, False]
    assert budget.spend() is None
    assert budget.note_training(100.0 + HEALTHY)
    assert budget.spend() == 0
    assert str(budget) == "restart 1 of 2"


def test_time_in_which_no_step_is_made_does_not_refill_the_budget() -> None:
    budget = RestartBudget(1)
    budget.note_training(0.0)
    budget.spend()
    assert not budget.note_training(2 * HEALTHY)  # the first step after the restart
    assert not budget.has_left


def test_a_restart_that_is_spent_for_good_is_never_refilled() -> None:
    budget = RestartBudget(3, jitter=lambda: 0.5)
    budget.spend()
    budget.spend(for_good=True)
    budget.note_training(0.0)
    assert budget.note_training(HEALTHY)
    assert str(budget) == "restart 1 of 3"


def test_a_pause_alone_spends_nothing() -> None:
    budget = RestartBudget(2, jitter=lambda: 0.5)
    budget.spend()
    assert [budget.pause(), budget.pause()] == [0, 0]
    assert budget.spend() == 1
    assert not budget.has_left


# What a restart can help

KILLED = Cause(SECOND, "killed by SIGKILL", retryable=True)
NO_GPU = Cause(SECOND, "no GPU", misplaced=True)
STARVED = Cause(SECOND, "killed by the kernel", retryable=True, out_of_memory=True)


def exception(error: str, record: Mapping[str, object] | None = None) -> Cause:
    """An exception of the training code."""
    return Cause(SECOND, error, from_training_code=True, record=record)


RAISED = exception("ValueError: no")


def deciding(*, trained: bool = True, restarts: int = 3, fewest: int = 0) -> tuple[RestartPolicy, Progress]:
    progress = Progress(FIRST)
    budget = Paused(restarts)
    policy = RestartPolicy(budget, LostWorkers(Quorum.of([FIRST, SECOND], fewest, FIRST)), progress)
    policy.trained = trained
    return policy, progress


def attempt(progress: Progress, *steps: int, resumed_at: int = 0) -> None:
    """Play an attempt that reports these steps."""
    progress.begin(0.0)
    progress.resume(resumed_at)
    for step in steps:
        progress.report(FIRST, {"step": step}, 1.0)


def test_an_exception_at_the_same_step_twice_is_not_retried_again() -> None:
    policy, progress = deciding()
    attempt(progress, 100, 200)
    assert policy.decide(RAISED, 1) == Decision(1.0)
    attempt(progress, 200, resumed_at=100)
    assert policy.decide(RAISED, 2) == Decision(why="same failure as in attempt 1, at the same step")


def test_an_exception_at_a_later_step_or_another_one_is_retried() -> None:
    policy, progress = deciding()
    attempt(progress, 100, 200)
    policy.decide(RAISED, 1)
    attempt(progress, 100, 200, 300, 400)
    assert policy.decide(RAISED, 2).pause == 2.0
    assert policy.decide(exception("OSError: no"), 3).pause == 4.0


def raised(message: str, *, line: int = 9) -> Cause:
    """A ValueError whose place in the training code is known."""
    code = ["train.py:3: self.check(batch)", f"train.py:{line}: raise ValueError(batch)"]
    return exception(f"ValueError: {message}", {"type": "ValueError", "code": code})


@pytest.mark.parametrize(
    ("first", "again", "is_the_same"),
    [
        (raised("<Batch at 0x7f1>"), raised("<Batch at 0x7f2>"), True),
        (raised("at 10:31:07"), raised("at 10:31:52"), True),
        (raised("no"), raised("no", line=12), False),
        (exception("E: <B at 0x7Fa1>"), exception("E: <B at 0x7Fb2>"), True),  # a peer's
        (exception("E: <B at 0x7Fa1>"), exception("E: <C at 0x7Fb2>"), False),
    ],
)
def test_an_exception_is_the_same_by_its_type_and_its_place_whatever_its_message_names(
    first: Cause, again: Cause, *, is_the_same: bool
) -> None:
    policy, progress = deciding()
    attempt(progress, 100, 200)
    policy.decide(first, 1)
    attempt(progress, 200, resumed_at=100)
    assert policy.would_restart(again) is not is_the_same
    assert (policy.decide(again, 2).pause is None) is is_the_same


@pytest.mark.parametrize("restarts", [0, 1])
@pytest.mark.parametrize("fewest", [0, 1])
@pytest.mark.parametrize("cause", [KILLED, RAISED, NO_GPU, STARVED, Cause(FIRST, "no", retryable=True)])
def test_what_would_restart_does_restart(cause: Cause, fewest: int, restarts: int) -> None:
    policy, progress = deciding(restarts=restarts, fewest=fewest)
    attempt(progress, 100)
    would = policy.would_restart(cause)
    assert would is (policy.decide(cause, 1).pause is not None)


def test_nothing_that_fails_before_the_first_step_is_retried() -> None:
    for cause in (KILLED, RAISED, NO_GPU, STARVED):
        policy, _ = deciding(trained=False, fewest=1)
        assert policy.decide(cause, 1) == Decision()


def test_a_bad_placement_and_a_wrong_file_are_not_retried() -> None:
    for cause in (NO_GPU, Cause(SECOND, "args: no", exit_code=2)):
        policy, _ = deciding()
        assert policy.decide(cause, 1) == Decision()


def test_an_exhausted_budget_is_said_unless_there_was_none() -> None:
    assert deciding(restarts=0)[0].decide(KILLED, 1) == Decision()
    policy, _ = deciding(restarts=1)
    policy.decide(KILLED, 1)
    assert policy.decide(KILLED, 2) == Decision(why="restarts exhausted (run.restarts: 1)")


def test_a_worker_that_may_be_missing_is_left_out_if_the_budget_is_exhausted() -> None:
    policy, _ = deciding(restarts=0, fewest=1)
    assert policy.decide(KILLED, 1) == Decision(1.0, leave_out=SECOND)


def test_a_task_that_restarts_alone_spends_the_same_budget_and_may_be_left_out() -> None:
    policy, _ = deciding(restarts=1, fewest=1)
    assert policy.decide_alone(KILLED) == Decision(1.0)
    assert policy.decide_alone(KILLED) == Decision(leave_out=SECOND)


# Out of memory


def starved_twice(*steps: int, by: Cause = STARVED, fewest: int = 0) -> Decision:
    """Run out of memory at step 200, resume at 100, make these steps, and run out of memory again."""
    policy, progress = deciding(fewest=fewest)
    attempt(progress, 100, 200)
    assert policy.decide(STARVED, 1) == Decision(1.0)
    attempt(progress, *steps, resumed_at=100)
    would, decision = policy.would_restart(by), policy.decide(by, 2)
    assert would is (decision.pause is not None)
    return decision


@pytest.mark.parametrize("steps", [(), (200,), (200, 250)])
@pytest.mark.parametrize("by", [STARVED, replace(STARVED, task=FIRST)], ids=["same task", "another"])
def test_memory_that_runs_out_again_no_further_than_before_ends_the_run(steps: tuple[int, ...], by: Cause) -> None:
    assert starved_twice(*steps, by=by) == Decision(why="same failure as in attempt 1, at the same step")


def test_memory_that_runs_out_later_than_before_is_a_restart_within_the_budget() -> None:
    assert starved_twice(200, 300, 400).pause == 2.0


def test_another_failure_after_memory_ran_out_is_a_restart_within_the_budget() -> None:
    assert starved_twice(200, by=KILLED).pause == 2.0


def test_a_worker_that_runs_out_of_memory_again_is_left_out_if_the_others_are_enough() -> None:
    assert starved_twice(200, fewest=1).leave_out == SECOND


def test_a_task_alone_that_runs_out_of_memory_again_and_again_ends_however_long_the_others_train() -> None:
    policy, _ = deciding(restarts=3)
    decided = []
    for death in range(5):
        decided.append(policy.decide_alone(STARVED).continues)
        for now in (0.0, 2 * HEALTHY):
            policy.note_training(death * 10 * HEALTHY + now)
    assert decided == [True, True, True, False, False]
    policy, _ = deciding(restarts=3)
    policy.decide_alone(KILLED)
    assert policy.decide_alone(KILLED).continues
