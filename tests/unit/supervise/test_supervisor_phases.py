"""Which bound ends which phase of a task, what puts it off, and for whom the others wait: recorded histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from launcher.contract.phases import Phase
from launcher.contract.task import Task
from launcher.spec.timeouts import Timeouts, by_phase
from launcher.supervise.events import Event, Exited, Inspect, Inspected, Reported, RunState, Tick
from launcher.supervise.hangs import INSPECTION_GRACE, LEARNED
from launcher.supervise.phases import Phases
from launcher.supervise.supervisor import FORMING_GRACE
from tests.unit.supervise.histories import (
    ASYNC,
    CHIEF,
    EVALUATED,
    EVALUATOR,
    FIRST,
    SECOND,
    SYNC,
    Moments,
    Replay,
    ready,
    replay,
    ticks,
)

STEP = 300.0
BOUNDS: Mapping[Phase, float] = {
    phase: 100.0 * number for number, phase in enumerate(Phase, 5) if phase is not Phase.TRAIN
}
STACKS = "; the logs have the stacks of all threads"


def enters(task: Task, phase: Phase, at: float) -> tuple[float, Reported]:
    return at, Reported(task, "phase", {"phase": phase.value})


def moves(task: Task, phase: Phase, at: float, done: int = 0, of: int = 0) -> tuple[float, Reported]:
    return at, Reported(task, "moving", {"phase": phase.value, "done": done, "of": of})


def stepped(task: Task, step: int, at: float) -> tuple[float, Reported]:
    return at, Reported(task, "progress", {"step": step, "steps": 9000, "figures": {}})


def watched(history: Sequence[tuple[float, Event]], until: float, **keys: object) -> Replay:
    """The history, then every second until then: what is hanging is inspected, and its cause is known."""
    last = max(at for at, _ in history)
    return replay(SYNC, [*history, *ticks(int(last) + 1, int(until) + 1)], timeouts=BOUNDS, **keys)  # type: ignore[arg-type]


def test_every_phase_but_a_step_has_a_default_bound() -> None:
    assert by_phase(Timeouts()).keys() == set(Phase) - {Phase.TRAIN}


@pytest.mark.parametrize("phase", [phase for phase in BOUNDS if phase is not Phase.IMPORT])
def test_a_task_may_stay_in_a_phase_for_its_bound_and_is_named_with_it_after_that(phase: Phase) -> None:
    bound = BOUNDS[phase]
    history = [*ready(FIRST, SECOND), enters(FIRST, Phase.TRAIN, 2), enters(SECOND, phase, 10)]
    assert watched(history, 10 + bound - 1).kills == []
    seen = watched(history, 10 + bound + INSPECTION_GRACE)
    assert seen.cause.task == SECOND
    assert seen.cause.error == f"worker:1 has been in {phase} for {bound:g} s (run.timeouts.{phase}){STACKS}"


def test_an_import_may_take_longer_than_the_start_timeout_but_not_than_its_own_bound() -> None:
    bound = BOUNDS[Phase.IMPORT]
    history = [enters(FIRST, Phase.IMPORT, 1), enters(SECOND, Phase.IMPORT, 1), (2.0, Reported(FIRST, "meeting"))]
    assert watched(history, bound).kills == []
    seen = watched(history, 1 + bound + INSPECTION_GRACE)
    assert seen.cause.error == f"worker:1 has been in import for {bound:g} s (run.timeouts.import){STACKS}"
    assert Inspect(SECOND, can_answer=True) in [action for _, action in seen.actions]


def test_the_start_timeout_begins_when_a_task_has_imported() -> None:
    late = 200 + 60 + FORMING_GRACE
    history: Moments = [
        *(enters(task, Phase.IMPORT, 1) for task in SYNC),
        *((200.0, Reported(task, "meeting")) for task in SYNC),
    ]
    assert watched(history, late - 1).kills == []
    seen = watched(history, late + INSPECTION_GRACE)
    assert seen.cause.error == "not ready after 60 s (run.start_timeout): worker:0, worker:1"


def test_a_step_does_not_hang_while_another_task_is_in_a_phase_within_its_bound_and_has_its_time_afterwards() -> None:
    bound = BOUNDS[Phase.EVALUATE]
    history = [*ready(FIRST, SECOND), stepped(FIRST, 1, 2), stepped(SECOND, 1, 2), enters(SECOND, Phase.EVALUATE, 3)]
    back = [*history, stepped(SECOND, 2, 3 + bound - 1)]
    assert watched(back, 3 + bound - 1 + STEP - 1).kills == []
    assert "no step for 300 s" in watched(back, 3 + bound + STEP + INSPECTION_GRACE).cause.error


def test_steps_inside_a_call_are_signs_of_life_however_long_the_call_takes() -> None:
    inside = [moves(task, Phase.TRAIN, 250.0 * step, step, 9000) for step in range(1, 20) for task in SYNC]
    assert replay(SYNC, [*ready(*SYNC), *inside], timeouts=BOUNDS).kills == []


def test_the_task_that_is_behind_inside_a_call_is_the_one_that_the_others_wait_for() -> None:
    history = [*ready(*SYNC), moves(FIRST, Phase.TRAIN, 2, 34, 100), moves(SECOND, Phase.TRAIN, 2, 33, 100)]
    seen = watched(history, 2 + STEP + INSPECTION_GRACE)
    assert seen.cause.error.startswith("no step for 300 s (run.stall_timeout): worker:1 is behind, at step 33 of 34")


def test_the_bound_of_a_step_is_learned_from_the_longest_so_far_but_is_never_less_than_what_was_asked_for() -> None:
    fast = [*ready(*SYNC), stepped(FIRST, 1, 2), stepped(FIRST, 2, 4)]
    assert "no step for 300 s (run.stall_timeout): " in watched(fast, 4 + STEP + INSPECTION_GRACE).cause.error
    slow = [*fast, stepped(FIRST, 3, 204)]
    learned = LEARNED * 200
    assert watched(slow, 204 + learned - 1).kills == []
    seen = watched(slow, 204 + learned + INSPECTION_GRACE)
    assert f"no step for {learned:g} s ({LEARNED:g} times the longest step so far): " in seen.cause.error


def test_each_batch_that_is_skipped_puts_the_bound_off_and_the_message_says_how_many_there_are() -> None:
    bound = BOUNDS[Phase.DATA]
    skipped = [moves(SECOND, Phase.DATA, number * (bound - 1), 1000 * number, 17_000) for number in range(1, 5)]
    history = [*ready(*SYNC), enters(FIRST, Phase.TRAIN, 2), enters(SECOND, Phase.DATA, 2), *skipped]
    last = skipped[-1][0]
    assert watched(history, last + bound - 1).kills == []
    seen = watched(history, last + bound + INSPECTION_GRACE)
    expected = f"worker:1 has skipped no batch for {bound:g} s, after 4,000 of 17,000 (run.timeouts.data){STACKS}"
    assert seen.cause.error == expected


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (Inspected(SECOND, where="train.py:3 (evaluate)"), "; it is in train.py:3 (evaluate)"),
        (Inspected(SECOND, suspended=True), "; it is suspended by a signal (SIGSTOP or Ctrl-Z)"),
    ],
)
def test_of_several_that_stay_too_long_the_suspended_one_is_named_and_where_it_is_is_said(
    found: Inspected, why: str
) -> None:
    late = 10 + BOUNDS[Phase.EVALUATE]
    history: Moments = [*ready(*SYNC), enters(SECOND, Phase.EVALUATE, 10), enters(FIRST, Phase.EVALUATE, 11)]
    seen = replay(SYNC, [*history, (late, Tick()), (late, Inspected(FIRST)), (late, found)], timeouts=BOUNDS)
    assert seen.cause.error.endswith(f"(run.timeouts.evaluate){why}{STACKS}")


def test_a_launcher_that_does_not_see_all_tasks_lets_the_first_step_wait_for_what_others_do_before_theirs() -> None:
    longest = BOUNDS[Phase.BUILD] + BOUNDS[Phase.DATA]
    waits = [*ready(*SYNC), enters(FIRST, Phase.TRAIN, 2)]
    assert watched(waits, 2 + longest - 1, whole=False).kills == []
    bound = "run.timeouts.build and run.timeouts.data, as the others may need them"
    seen = watched(waits, 2 + longest + INSPECTION_GRACE, whole=False)
    assert seen.cause.error.startswith(f"no step for {longest:g} s ({bound}): ")
    stepped_once = [*waits, stepped(FIRST, 1, 3)]
    seen = watched(stepped_once, 3 + STEP + INSPECTION_GRACE, whole=False)
    assert seen.cause.error.startswith("no step for 300 s (run.stall_timeout): ")


def test_a_coordinator_that_tells_no_step_is_alive_while_its_workers_move_inside_their_calls() -> None:
    inside: Moments = [(200.0 * number, Reported(CHIEF, "moving", {"phase": "train"})) for number in range(1, 9)]
    assert replay(ASYNC, [*ready(*ASYNC), *inside], timeouts=BOUNDS).kills == []


def test_the_live_line_shows_the_first_task_that_makes_no_steps_and_that_the_leader_waits_for_it() -> None:
    phases = Phases(BOUNDS)
    assert phases.shown([FIRST, SECOND]) == {}
    phases.enter(FIRST, Phase.TRAIN, 1)
    phases.moved(moves(SECOND, Phase.DATA, 2, 5, 17)[1], 2)
    waits = {"phase": Phase.DATA, "skipped": 5, "to_skip": 17, "waits_for": "worker:1"}
    assert phases.shown([FIRST, SECOND]) == waits
    phases.enter(FIRST, Phase.SAVE, 3)
    assert phases.shown([FIRST, SECOND]) == {"phase": Phase.SAVE}


# An evaluator, for which nobody waits

SCORED: Moments = [*ready(FIRST, SECOND, EVALUATOR), stepped(FIRST, 1, 2), stepped(SECOND, 1, 2)]


def training(until: int) -> Moments:
    """Both workers make a step every hundred seconds."""
    return [stepped(task, at, at) for at in range(100, until, 100) for task in SYNC]


def scored(history: Moments, until: int, budget: int = 1) -> Replay:
    seconds = ticks(3, until)
    moments = sorted([*SCORED, *history, *training(until), *seconds], key=lambda moment: moment[0])
    return replay(EVALUATED, moments, timeouts=BOUNDS, budget=budget)


@pytest.mark.parametrize("phase", [Phase.BUILD, Phase.EVALUATE])
def test_an_evaluator_that_stays_in_a_phase_is_named_and_killed_alone_and_restarts_alone(phase: Phase) -> None:
    late = 10 + int(BOUNDS[phase])
    stays: Moments = [enters(EVALUATOR, phase, 10)]
    assert scored(stays, late).kills == []
    died: Moments = [*stays, (late + 7.0, Exited(EVALUATOR, -9))]
    seen = scored(died, late + 20)
    assert seen.kills == [(late + INSPECTION_GRACE, "evaluator:0", "SIGKILL")]
    assert seen.said[0] == f"evaluator:0 has been in {phase} for {late - 10} s (run.timeouts.{phase}){STACKS}"
    assert seen.restarts == [(late + 8.0, EVALUATOR, 2)]
    assert seen.state is RunState.TRAINING


def test_an_evaluator_that_waits_for_a_checkpoint_is_in_no_phase() -> None:
    idle: Moments = [enters(EVALUATOR, Phase.EVALUATE, 10), (20, Reported(EVALUATOR, "idle"))]
    assert scored(idle, 20 + int(BOUNDS[Phase.EVALUATE]) + 10).kills == []


def test_what_an_evaluator_does_puts_off_no_bound_of_the_tasks_that_train() -> None:
    busy = [enters(EVALUATOR, phase, at) for at in range(10, 300, 20) for phase in (Phase.BUILD, Phase.EVALUATE)]
    moments = sorted([*SCORED, *busy, *ticks(3, 310)], key=lambda moment: moment[0])
    assert "no step for 300 s" in replay(EVALUATED, moments, timeouts=BOUNDS).cause.error


# After the result


def test_a_task_that_stays_in_a_phase_after_the_leaders_result_is_found_too() -> None:
    bound = BOUNDS[Phase.EVALUATE]
    history: Moments = [*ready(*SYNC), enters(SECOND, Phase.EVALUATE, 5), (6, Reported(FIRST, "result", {}))]
    assert watched(history, 5 + bound - 1).kills == []
    seen = watched(history, 5 + bound + INSPECTION_GRACE)
    assert seen.cause.error == f"worker:1 has been in evaluate for {bound:g} s (run.timeouts.evaluate){STACKS}"
