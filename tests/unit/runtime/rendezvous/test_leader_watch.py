"""The leader once all have met: whose loss it cannot go on without, what it tells, and when it sends all away."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from launcher.errors import LauncherError
from launcher.runtime.failure import PeerFailed, PeerGone
from launcher.runtime.rendezvous import leader as module
from launcher.runtime.rendezvous.meeting import Meeting
from tests.unit.runtime.rendezvous.meeting import ASYNC, PATIENCE, Place, Stranger, go, result


def said(loss: LauncherError) -> tuple[type[LauncherError], str]:
    return type(loss), str(loss)


def part(place: Place, leader: Meeting, *, stopped: bool = False) -> Future[None]:
    return place.start(leader.part, stopped=stopped)


def finish(*members: Stranger) -> None:
    for member in members:
        member.say({"finished": True})


def leave(*members: Stranger) -> list[dict[str, Any]]:
    """Let the members hear the end, and go; return what they heard."""
    heard = [member.hear_until("end") for member in members]
    for member in members:
        member.vanish()
    return heard


# A loss


@pytest.mark.parametrize(("changes", "lost"), [({}, "worker:1"), ({}, "worker:2"), (ASYNC, "ps:0")])
def test_a_task_that_goes_ends_the_attempt_where_all_need_it(place: Place, changes: dict[str, Any], lost: str) -> None:
    _, first, second = place.led(**changes)
    (first if lost == "worker:1" else second).vanish()
    assert said(place.loss()) == (PeerGone, f"{lost} went away")


def test_only_the_first_loss_counts(place: Place) -> None:
    leader, first, second = place.led()
    first.vanish()
    assert str(place.loss()) == "worker:1 went away"
    second.vanish()
    assert leader._wait(lambda: len(leader._gone) == 2, PATIENCE)
    assert str(leader._loss) == "worker:1 went away"
    assert place.lost.empty()


def test_a_loss_before_the_leader_watches_is_told_when_it_does(place: Place) -> None:
    leader, first, _ = place.led()
    leader._leave = None  # as while it builds its strategy
    first.vanish()
    assert leader._wait(lambda: leader._loss, PATIENCE)
    leader.watch(place.lost.put)
    assert str(place.loss()) == "worker:1 went away"


def test_an_asynchronous_worker_may_go_and_come_again(place: Place) -> None:
    leader, worker, ps = place.led(**ASYNC)
    worker.vanish()
    assert leader._wait(lambda: "worker:0" in leader._gone, PATIENCE)
    go(place.member("worker:0"))
    assert leader._gone == set()
    ps.vanish()
    assert str(place.loss()) == "ps:0 went away"  # and nothing was lost before


def test_an_asynchronous_worker_that_comes_again_before_its_old_connection_breaks_is_welcome(place: Place) -> None:
    leader, old, _ = place.led(**ASYNC)
    go(place.member("worker:0"))
    old.vanish()
    parted = part(place, leader)
    assert leader._wait(lambda: leader._over, PATIENCE)
    assert leader._loss is None
    assert not parted.done()


@pytest.mark.parametrize(("changes", "name"), [({}, "worker:1"), ({}, "worker:2"), (ASYNC, "ps:0")])
def test_a_task_that_comes_again_while_its_old_connection_is_open_has_started_again(
    place: Place, changes: dict[str, Any], name: str
) -> None:
    leader, _, _ = place.led(**changes)
    again = place.member(name)
    assert said(place.loss()) == (PeerGone, f"{name} has started again")
    # It is no part of this attempt: it looks for the next one's leader, which is this task.
    assert again.hear_all() == [{"waiting": [leader._name]}]


@pytest.mark.parametrize("job", ["worker", "ps"])
def test_a_task_that_serves_and_is_silent_for_too_long_is_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    monkeypatch.setattr(module, "_SERVES_SILENTLY", 0.05)
    cluster = {"chief": ("127.0.0.1:1",), job: ("127.0.0.2:1",)}
    leader = place.send("chief:0", **{**ASYNC, "cluster": cluster})
    go(place.member(f"{job}:0"))
    result(leader).watch(place.lost.put)
    assert said(place.loss()) == (PeerGone, f"{job}:0 has been silent for 0.05 s")


def test_a_task_that_trains_may_be_silent(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SERVES_SILENTLY", 0.01)
    monkeypatch.setattr(module, "ALIVE_EVERY", 0.01)
    leader, first, second = place.led()
    for _ in range(10):
        first.hear_until("alive")
    assert leader._present.keys() == {"worker:1", "worker:2"}
    second.vanish()
    assert str(place.loss()) == "worker:2 went away"


def test_members_hear_that_the_leader_lives(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALIVE_EVERY", 0.01)
    _, *members = place.led()
    for member in members:
        assert [member.hear() for _ in range(3)] == [{"alive": True}] * 3


# A failure


def test_a_failure_reaches_all_and_the_leader_leaves_when_they_have_heard_it(place: Place) -> None:
    _, failing, other = place.led()
    failing.say({"failed": "worker:1 failed: ValueError: no", "exit_code": 5, "own": True})
    assert other.hear_until("failed") == {"failed": "worker:1 failed: ValueError: no", "exit_code": 5, "own": True}
    assert place.lost.empty()  # another task may not have heard it yet
    other.vanish()
    loss = place.loss()
    assert said(loss) == (PeerFailed, "worker:1 failed: ValueError: no")
    assert loss.exit_code == 5


def test_a_task_that_does_not_hear_of_a_failure_holds_the_leader_up_only_so_long(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GOODBYE", 0.01)
    _, failing, _ = place.led()
    failing.say({"failed": "no"})
    loss = place.loss()
    assert said(loss) == (PeerFailed, "no")
    assert loss.exit_code == 1


def test_the_end_of_the_task_that_has_failed_is_no_loss_of_its_own(place: Place) -> None:
    leader, failing, other = place.led()
    failing.say({"failed": "no"})
    other.hear_until("failed")
    for member in (failing, other):
        member.vanish()
    assert leader._wait(lambda: len(leader._gone) == 2, PATIENCE)
    assert said(place.loss()) == (PeerFailed, "no")
    assert place.lost.empty()


# The end


@pytest.mark.parametrize("stopped", [False, True])
def test_all_are_sent_away_once_all_have_finished(place: Place, stopped: bool) -> None:
    leader, first, second = place.led()
    parted = part(place, leader, stopped=stopped)
    finish(first)
    with pytest.raises(TimeoutError):
        parted.result(timeout=0.05)
    finish(second)
    assert leave(first, second) == [{"end": True, "stopped": stopped}] * 2
    result(parted)
    assert place.lost.empty()


def test_a_task_that_has_finished_may_go_before_the_leader_parts(place: Place) -> None:
    leader, first, second = place.led()
    finish(first)
    assert leader._wait(lambda: leader._finished, PATIENCE)
    first.vanish()
    assert leader._wait(lambda: leader._gone, PATIENCE)
    assert leader._loss is None
    parted = part(place, leader)
    finish(second)
    leave(second)
    result(parted)


def test_who_serves_is_sent_away_without_having_finished(place: Place) -> None:
    leader, worker, ps = place.led(**ASYNC)
    parted = part(place, leader)
    leave(worker, ps)
    result(parted)


def test_a_task_that_is_lost_at_the_end_does_not_hold_it_up(place: Place) -> None:
    leader, lost, other = place.led()
    parted = part(place, leader)
    assert leader._wait(lambda: leader._parting, PATIENCE)
    lost.vanish()
    finish(other)
    leave(other)
    result(parted)
    assert place.lost.empty()


def test_a_task_that_hangs_holds_up_the_end_only_so_long(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    leader, *members = place.led()
    monkeypatch.setattr(module, "_PART_TIMEOUT", 0.05)
    monkeypatch.setattr(module, "HELLO_TIMEOUT", 0.05)
    result(part(place, leader))
    assert [member.hear_until("end") for member in members] == [{"end": True, "stopped": False}] * 2


def test_a_leader_does_not_serve(place: Place) -> None:
    leader, _, _ = place.led()
    with pytest.raises(NotImplementedError):
        leader.wait_for_end()
