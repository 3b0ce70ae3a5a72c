"""What a leader decides once all have met: whose loss ends the attempt, what it tells, and when all may leave."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.errors import LauncherError
from launcher.runtime.failure import PeerFailed, PeerGone
from launcher.runtime.rendezvous.events import (
    Done,
    Failed,
    Finished,
    Heard,
    Leave,
    NoteLoss,
    Sent,
    TaskAction,
    Tick,
    Watching,
)
from tests.unit.runtime.rendezvous.histories import ASYNC, History, formed

ALIVE = {"alive": True}
OWN = PeerFailed("worker:0 failed: ValueError: no", 1, own=True)


def reason(actions: list[TaskAction]) -> tuple[type[LauncherError], str]:
    """Why this task is to leave."""
    (leave,) = (action for action in actions if isinstance(action, Leave))
    return type(leave.error), str(leave.error)


def none_left(actions: list[TaskAction]) -> bool:
    return not any(isinstance(action, Leave) for action in actions)


def ended(stopped: bool = False) -> list[Any]:
    return [{"end": True, "stopped": stopped}, "hung up"]


# A loss


@pytest.mark.parametrize(("changes", "lost"), [({}, 0), ({}, 1), (ASYNC, 1)])
def test_a_task_that_goes_ends_the_attempt_if_all_need_it(changes: dict[str, Any], lost: int) -> None:
    history, *connections = formed(**changes)
    name = history.others[lost]
    history.lose(connections[lost])
    other = connections[1 - lost]
    assert history.told(other) == [{"lost": f"{name} went away", "peer": name}, "hung up"]
    assert none_left(history.asked())
    history.lose(other)  # it has heard it
    assert reason(history.asked()) == (PeerGone, f"{name} went away")


def test_who_does_not_hear_of_a_loss_holds_the_leader_up_only_so_long() -> None:
    history, first, _ = formed()
    history.lose(first)
    history.wait(1.9)
    assert none_left(history.asked())
    history.wait(0.2)
    assert reason(history.asked()) == (PeerGone, "worker:1 went away")


def test_only_the_first_loss_counts() -> None:
    history, first, second = formed()
    history.lose(first, second)
    assert reason(history.asked()) == (PeerGone, "worker:1 went away")
    history.wait(10.0)
    assert history.asked() == []


def test_a_loss_while_the_leader_builds_its_strategy_is_told_when_it_watches() -> None:
    history = History()
    history.lose(*history.form())
    history.wait(10.0)
    assert [type(action) for action in history.asked()] == [NoteLoss]
    history.happen(Watching())
    assert reason(history.asked()) == (PeerGone, "worker:1 went away")


def test_an_asynchronous_worker_may_go_and_come_again() -> None:
    history, worker, ps = formed(**ASYNC)
    history.lose(worker)
    again = history.hello("worker:0")
    assert [next(iter(message)) for message in history.told(again)] == ["prepare"]
    history.prepare(again)
    assert history.told(again) == [{"go": True, "without": []}]
    assert history.told(ps) == []
    assert history.asked() == []
    history.lose(ps, again)
    assert reason(history.asked()) == (PeerGone, "ps:0 went away")


def test_an_asynchronous_worker_that_comes_again_before_its_old_connection_breaks_is_welcome() -> None:
    history, old, _ = formed(**ASYNC)
    again = history.hello("worker:0")
    history.prepare(again)
    history.lose(old)
    history.wait(4.0)
    assert history.asked() == []


@pytest.mark.parametrize(("changes", "name"), [({}, "worker:1"), ({}, "worker:2"), (ASYNC, "ps:0")])
def test_a_task_that_comes_again_while_its_old_connection_is_open_has_started_again(
    changes: dict[str, Any], name: str
) -> None:
    history, first, second = formed(**changes)
    again = history.hello(name)
    # It is no part of this attempt: it looks for the next one's leader, which is this task.
    leader = str(changes.get("leader", "worker:0"))
    assert history.told(again) == [{"waiting": [leader]}, "hung up"]
    history.lose(first, second)
    assert reason(history.asked()) == (PeerGone, f"{name} has started again")


@pytest.mark.parametrize("name", ["worker:0", "ps:0"])
def test_a_task_that_serves_and_is_silent_for_too_long_is_lost(name: str) -> None:
    history, worker, ps = formed(**ASYNC)
    silent, other = (worker, ps) if name == "worker:0" else (ps, worker)
    history.wait(19.9)
    history.say(other, alive=True)
    assert history.asked() == []
    history.wait(0.2)
    # What it hears if it was only suspended.
    assert history.told(silent)[-2:] == [{"lost": f"{name} has been silent for 20 s", "peer": name}, "closed"]
    history.lose(other)
    assert reason(history.asked()) == (PeerGone, f"{name} has been silent for 20 s")


def test_what_has_arrived_before_the_time_that_counts_is_no_silence() -> None:
    """Whoever holds Python's lock for a minute keeps the leader from the heartbeats that have arrived."""
    history, worker, ps = formed(**ASYNC)
    asked, history.now = history.now + 1.0, history.now + 60.0
    assert history.leading.handle(Heard(worker, ALIVE), history.now) == []
    assert [type(action) for action in history.leading.handle(Tick(), asked)] == []
    history.happen(Heard(ps, ALIVE))
    assert none_left(history.asked())


def test_a_task_that_trains_may_be_silent_and_hears_that_the_leader_lives() -> None:
    history, first, second = formed()
    history.wait(600.0)
    assert history.told(first) == history.told(second) == [ALIVE] * 120
    assert history.asked() == []


def test_a_heartbeat_makes_nothing_due() -> None:
    history, worker, _ = formed(**ASYNC)
    due = history.leading.wake_at
    history.leading.handle(Heard(worker, ALIVE), history.now + 1.0)
    assert history.leading.wake_at == due > history.now
    history.leading.handle(Heard(worker, {"finished": True}), history.now + 1.0)
    assert history.leading.wake_at < history.now


# A failure


def test_a_failure_reaches_all_and_the_leader_leaves_when_they_have_heard_it() -> None:
    history, failing, other = formed()
    history.say(failing, failed="worker:1 failed: ValueError: no", exit_code=5, own=True)
    failed = {"failed": "worker:1 failed: ValueError: no", "exit_code": 5, "own": True}
    assert history.told(other) == [failed, "hung up"]
    assert none_left(history.asked())
    history.lose(other)
    assert reason(history.asked()) == (PeerFailed, "worker:1 failed: ValueError: no")


def test_a_task_that_does_not_hear_of_a_failure_holds_the_leader_up_only_so_long() -> None:
    history, failing, _ = formed()
    history.say(failing, failed="no")
    history.wait(2.0)
    (_, leave) = history.asked()
    assert isinstance(leave, Leave)
    assert isinstance(leave.error, PeerFailed)
    assert leave.error.exit_code == 1


def test_the_end_of_the_task_that_has_failed_is_no_loss_of_its_own() -> None:
    history, failing, other = formed()
    history.say(failing, failed="no")
    history.lose(failing, other)
    assert reason(history.asked()) == (PeerFailed, "no")


def test_the_first_failure_is_the_reason() -> None:
    history, first, second = formed()
    history.say(first, failed="first")
    history.say(second, failed="second")
    history.lose(first, second)
    assert reason(history.asked()) == (PeerFailed, "first")


def test_a_failure_says_more_than_a_loss_a_moment_before() -> None:
    history, first, second = formed()
    history.lose(first)
    history.say(second, failed="why")
    history.wait(2.0)
    assert reason(history.asked()) == (PeerFailed, "why")


def test_a_leader_that_fails_itself_leaves_with_its_own_error() -> None:
    history, first, second = formed()
    history.happen(Failed(OWN))
    assert history.told(first)[0] == {"failed": "worker:0 failed: ValueError: no", "exit_code": 1, "own": True}
    history.lose(first, second)
    assert history.asked() == [NoteLoss(OWN), Done()]


# The end


@pytest.mark.parametrize("stopped", [False, True])
def test_all_are_sent_away_once_all_have_finished(stopped: bool) -> None:
    history, first, second = formed()
    history.happen(Finished(stopped))
    history.say(first, finished=True)
    history.wait(59.0)
    assert ended(stopped)[0] not in history.told(second)
    history.say(second, finished=True)
    assert history.told(first)[-2:] == history.told(second) == ended(stopped)
    assert history.asked() == []
    history.lose(first, second)
    assert history.asked() == [Done()]


def test_a_task_that_has_finished_may_go_before_the_leader_has() -> None:
    history, first, second = formed()
    history.say(first, finished=True)
    history.lose(first)
    assert history.told(second) == []
    history.happen(Finished(stopped=False))
    history.say(second, finished=True)
    assert history.told(second) == ended()
    history.lose(second)
    assert history.asked() == [Done()]


def test_who_serves_is_sent_away_without_having_finished() -> None:
    history, worker, ps = formed(**ASYNC)
    history.happen(Finished(stopped=False))
    assert history.told(worker) == history.told(ps) == ended()


def test_a_worker_that_comes_again_at_the_end_is_sent_away_too() -> None:
    history, worker, ps = formed(**ASYNC)
    history.happen(Finished(stopped=False))
    history.lose(ps)
    again = history.hello("worker:0")
    history.prepare(again)
    assert history.told(again)[-2:] == ended()
    history.happen(Sent(again))
    history.lose(worker, again)
    assert history.asked() == [Done()]


def test_a_task_that_is_lost_at_the_end_does_not_hold_it_up() -> None:
    history, lost, other = formed()
    history.happen(Finished(stopped=False))
    history.lose(lost)
    history.say(other, finished=True)
    assert history.told(other) == ended()
    history.lose(other)
    assert history.asked() == [Done()]


def test_a_failure_at_the_end_is_told_and_the_leader_ends_well() -> None:
    history, failing, other = formed()
    history.happen(Finished(stopped=False))
    history.say(failing, failed="no")
    assert history.told(other)[0] == {"failed": "no", "exit_code": 1, "own": False}
    history.lose(failing, other)
    assert [type(action) for action in history.asked()] == [NoteLoss, Done]


def test_a_task_that_still_evaluates_is_waited_for_as_long_as_it_lives() -> None:
    history, slow, other = formed()
    history.happen(Finished(stopped=False))
    history.say(other, finished=True)
    for _ in range(60):
        history.wait(5.0)
        history.say(slow, alive=True)
    assert {"end": True, "stopped": False} not in history.told(slow)
    history.say(slow, finished=True)
    assert history.told(slow) == ended()


def test_a_task_that_hangs_holds_up_the_end_only_so_long() -> None:
    history, first, second = formed()
    history.happen(Finished(stopped=False))
    history.wait(60.0)
    assert history.told(first)[-2:] == history.told(second)[-2:] == ended()
    history.wait(4.9)
    assert history.asked() == []
    history.wait(0.2)
    assert history.asked() == [Done()]
