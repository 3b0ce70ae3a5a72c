"""What follows which failure, and what a restart cannot mend."""

from __future__ import annotations

import pytest

from launcher.contract.roles import Quorum
from launcher.supervise.elastic import Elastic
from launcher.supervise.events import Cause
from launcher.supervise.mending import Answer, Mending
from launcher.supervise.progress import Progress
from launcher.supervise.restarts import Restarts
from tests.unit.supervise.histories import FIRST, SECOND

KILLED = Cause(SECOND, "killed by SIGKILL", mendable=True)
RAISED = Cause(SECOND, "ValueError: no", own=True)


def mending(*, trained: bool = True, restarts: int = 3, fewest: int = 0) -> tuple[Mending, Progress]:
    progress = Progress(FIRST)
    budget = Restarts(restarts, jitter=lambda: 0.5)
    mends = Mending(budget, Elastic(Quorum.of([FIRST, SECOND], fewest, FIRST)), progress)
    mends.trained = trained
    return mends, progress


def attempt(progress: Progress, *steps: int, resumed_at: int = 0) -> None:
    """Play an attempt that reports these steps."""
    progress.begin(0.0)
    progress.resumed(resumed_at)
    for step in steps:
        progress.told(FIRST, {"step": step}, 1.0)


def test_an_exception_of_the_job_at_the_same_step_twice_is_not_started_again() -> None:
    mends, progress = mending()
    attempt(progress, 100, 200)
    assert mends.answer(RAISED, 1) == Answer(1.0)
    attempt(progress, 200, resumed_at=100)
    assert mends.answer(RAISED, 2) == Answer(why="so it did in attempt 1, at the same step")


def test_an_exception_further_on_or_another_one_is_started_again() -> None:
    mends, progress = mending()
    attempt(progress, 100, 200)
    mends.answer(RAISED, 1)
    attempt(progress, 100, 200, 300, 400)
    assert mends.answer(RAISED, 2).pause == 2.0
    assert mends.answer(Cause(SECOND, "OSError: no", own=True), 3).pause == 4.0


def raised(message: str, *, line: int = 9) -> Cause:
    """A ValueError of the job's, with its record."""
    record = {
        "type": "ValueError",
        "code": ["train.py:3: self.check(batch)", f"train.py:{line}: raise ValueError(batch)"],
    }
    return Cause(SECOND, f"ValueError: {message}", own=True, record=record)


@pytest.mark.parametrize(
    ("first", "again", "is_the_same"),
    [
        (raised("<Batch at 0x7f1>"), raised("<Batch at 0x7f2>"), True),
        (raised("at 10:31:07"), raised("at 10:31:52"), True),
        (raised("no"), raised("no", line=12), False),
        (Cause(SECOND, "E: <B at 0x7Fa1>", own=True), Cause(SECOND, "E: <B at 0x7Fb2>", own=True), True),  # a peer's
        (Cause(SECOND, "E: <B at 0x7Fa1>", own=True), Cause(SECOND, "E: <C at 0x7Fb2>", own=True), False),
    ],
)
def test_an_exception_is_the_same_by_its_type_and_its_place_whatever_its_message_names(
    first: Cause, again: Cause, *, is_the_same: bool
) -> None:
    mends, progress = mending()
    attempt(progress, 100, 200)
    mends.answer(first, 1)
    attempt(progress, 200, resumed_at=100)
    assert mends.would_restart(again) is not is_the_same
    assert (mends.answer(again, 2).pause is None) is is_the_same


@pytest.mark.parametrize("restarts", [0, 1])
@pytest.mark.parametrize("fewest", [0, 1])
@pytest.mark.parametrize(
    "cause", [KILLED, RAISED, Cause(SECOND, "no GPU", misplaced=True), Cause(FIRST, "no", mendable=True)]
)
def test_what_would_be_started_again_is_started_again(cause: Cause, fewest: int, restarts: int) -> None:
    mends, progress = mending(restarts=restarts, fewest=fewest)
    attempt(progress, 100)
    would = mends.would_restart(cause)
    assert would is (mends.answer(cause, 1).pause is not None)


def test_nothing_that_fails_before_the_first_step_is_started_again() -> None:
    for cause in (KILLED, RAISED, Cause(SECOND, "no GPU", misplaced=True)):
        mends, _ = mending(trained=False, fewest=1)
        assert mends.answer(cause, 1) == Answer()


def test_a_bad_placement_and_a_wrong_file_are_not_started_again() -> None:
    for cause in (Cause(SECOND, "no GPU", misplaced=True), Cause(SECOND, "args: no", exit_code=2)):
        mends, _ = mending()
        assert mends.answer(cause, 1) == Answer()


def test_a_budget_that_is_used_up_is_said_unless_there_was_none() -> None:
    assert mending(restarts=0)[0].answer(KILLED, 1) == Answer()
    mends, _ = mending(restarts=1)
    mends.answer(KILLED, 1)
    assert mends.answer(KILLED, 2) == Answer(why="run.restarts (1) are used up")


def test_who_can_be_spared_is_left_out_where_the_budget_is_used_up() -> None:
    mends, _ = mending(restarts=0, fewest=1)
    assert mends.answer(KILLED, 1) == Answer(1.0, leaves_out=SECOND)


def test_who_starts_again_alone_spends_the_same_budget_and_may_be_left_out() -> None:
    mends, _ = mending(restarts=1, fewest=1)
    assert mends.answer_alone(KILLED) == Answer(1.0)
    assert mends.answer_alone(KILLED) == Answer(leaves_out=SECOND)
