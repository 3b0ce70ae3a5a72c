"""Leader and members as they are, once they have met: how they fail together and part."""

from __future__ import annotations

import queue
import threading
from socketserver import StreamRequestHandler
from typing import Any

import pytest

from launcher.errors import FormationError, LauncherError
from launcher.runtime.failure import PeerFailed, PeerGone
from launcher.runtime.rendezvous import leader as leader_module
from launcher.runtime.rendezvous import member
from launcher.runtime.rendezvous.leader import Leader
from launcher.runtime.rendezvous.meeting import Meeting
from launcher.runtime.rendezvous.member import Member
from tests.unit.runtime.rendezvous.meeting import ASYNC, PATIENCE, Place, hang_up, result

BAD = ValueError("bad batch")  # as the user's code raises it


def fail(meeting: Meeting, error: BaseException) -> None:
    """End the task's part of the meeting with this error."""
    with pytest.raises(type(error)), meeting:
        raise error


def die(leader: Meeting) -> None:
    """Break the leader's connections at once, as the kernel does when its process ends."""
    assert isinstance(leader, Leader)
    with leader._changed:  # a process that has ended says nothing more, of the first connection to break for example
        for handler in list(leader._present.values()):
            assert isinstance(handler, StreamRequestHandler)
            hang_up(handler.connection)


def quit_process(member: Meeting) -> None:
    """Break the member's connection, as the kernel does when its process ends."""
    assert isinstance(member, Member)
    hang_up(member._connection)


# A failure


def test_what_fails_in_the_leader_all_hear_in_one_sentence(place: Place) -> None:
    leader, *members = place.formed()
    for meeting in members:
        meeting.watch(place.lost.put)
    fail(leader, BAD)
    for _ in members:
        loss = place.loss()
        assert (type(loss), str(loss)) == (PeerFailed, "worker:0 failed: ValueError: bad batch")


@pytest.mark.parametrize(
    ("error", "said", "code"), [(BAD, "ValueError: bad batch", 1), (FormationError("no such task"), "no such task", 3)]
)
def test_what_fails_in_a_member_all_others_hear_with_its_exit_code(
    place: Place, error: Exception, said: str, code: int
) -> None:
    leader, failing, other = place.formed()
    for meeting in (leader, other):
        meeting.watch(place.lost.put)
    fail(failing, error)
    quit_process(failing)
    heard = [place.loss() for _ in (leader, other)]
    assert [type(loss) for loss in heard] == [PeerFailed, PeerFailed]
    assert {(str(loss), loss.exit_code) for loss in heard} == {(f"worker:1 failed: {said}", code)}


@pytest.mark.parametrize(
    "error", [PeerGone("x"), PeerFailed("x", 1), type("UnavailableError", (Exception,), {})("x"), KeyboardInterrupt()]
)
def test_what_another_tasks_end_has_caused_is_no_failure_to_tell(place: Place, error: BaseException) -> None:
    leader, member, _ = place.formed()
    assert isinstance(leader, Leader)
    assert isinstance(member, Member)
    fail(member, error)
    member._say(finished=True)
    assert leader._wait(lambda: leader._finished, PATIENCE)  # it has heard all that the member said
    fail(leader, error)
    assert leader._loss is None


def test_where_a_task_is_lost_all_leave_at_once_and_know_whom_they_have_lost(place: Place) -> None:
    leader, lost, other = place.formed()

    def leave(error: LauncherError) -> None:
        place.lost.put(error)
        die(leader)

    leader.watch(leave)
    other.watch(place.lost.put)
    quit_process(lost)
    for loss in (place.loss(), place.loss()):
        assert isinstance(loss, PeerGone)
        assert (str(loss), loss.peer) == ("worker:1 went away", "worker:1")


@pytest.mark.parametrize("survivor", [0, 2], ids=["leader", "member"])
def test_an_error_of_tensorflow_s_about_a_peer_gives_way_to_who_has_gone(place: Place, survivor: int) -> None:
    meetings = place.formed()
    for index, meeting in enumerate(meetings):
        if index != 1:
            meeting.watch(place.lost.put)
    quit_process(meetings[1])
    place.loss()
    with pytest.raises(PeerGone, match=r"^worker:1 went away$") as caught, meetings[survivor]:
        raise type("UnavailableError", (Exception,), {})("recvmsg: Connection reset by peer")
    assert type(caught.value.__cause__).__name__ == "UnavailableError"


def test_an_error_about_a_peer_stays_where_nobody_has_gone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader_module, "_GOODBYE", 0.01)
    monkeypatch.setattr(member, "_LAST_WORD", 0.01)
    error = type("UnavailableError", (Exception,), {})("x")
    for meeting in place.formed()[:2]:
        fail(meeting, error)


# The end


def test_all_part_when_all_have_finished(place: Place) -> None:
    for parted in place.part(*place.formed()):
        result(parted)
    assert place.lost.empty()


def test_nobody_leaves_while_one_still_trains(place: Place) -> None:
    leader, member, late = place.formed()
    early = place.part(leader, member)
    with pytest.raises(TimeoutError):
        early[0].result(timeout=0.05)
    assert not early[1].done()
    for parted in [*early, *place.part(late)]:
        result(parted)


@pytest.mark.parametrize("stopped", [False, True])
def test_who_serves_is_sent_away_and_knows_whether_the_run_came_to_its_end(place: Place, stopped: bool) -> None:
    chief, worker, ps = place.formed(**ASYNC)
    served = [place.start(meeting.wait_for_end) for meeting in (worker, ps)]
    for parted in place.part(chief, stopped=stopped):
        result(parted)
    assert [result(there) for there in served] == [not stopped] * 2


def test_who_serves_hears_of_a_failure(place: Place) -> None:
    chief, worker, ps = place.formed(**ASYNC)
    served = [place.start(meeting.wait_for_end) for meeting in (worker, ps)]
    fail(chief, BAD)
    for there in served:
        with pytest.raises(PeerFailed, match=r"^chief:0 failed: ValueError: bad batch$"):
            result(there)


def test_a_member_whose_leader_is_lost_at_the_end_is_not_told_to_leave_but_raises(place: Place) -> None:
    leader, waiting, _ = place.formed()
    (parted,) = place.part(waiting)
    assert isinstance(leader, Leader)
    assert leader._wait(lambda: leader._finished, PATIENCE)
    die(leader)
    with pytest.raises(PeerGone, match=r"^worker:0 went away without saying that the run is over$"):
        result(parted)
    assert place.lost.empty()


def test_members_say_that_they_live(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, heard = threading.Event(), Leader._heard_failure

    def listens(leader: Leader, message: dict[str, Any], name: str) -> None:
        if message == {"alive": True}:
            alive.set()
        heard(leader, message, name)

    monkeypatch.setattr(Leader, "_heard_failure", listens)
    monkeypatch.setattr(member, "ALIVE_EVERY", 0.01)
    place.formed()
    assert alive.wait(PATIENCE)


def test_a_leader_that_fails_itself_leaves_with_its_own_error(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader_module, "_GOODBYE", 0.01)
    leader, *_ = place.led()
    with pytest.raises(ValueError, match="no"), leader:
        raise ValueError("no")
    assert place.lost.empty()  # nobody called the leave that ends the process before its own error is recorded


def test_a_member_that_fails_itself_is_not_told_to_leave_for_it(place: Place) -> None:
    leader, member, other = place.formed()
    own: queue.Queue[Exception] = queue.Queue()
    leader.watch(place.lost.put)
    other.watch(place.lost.put)
    member.watch(own.put)
    with pytest.raises(ValueError, match="no"), member:
        raise ValueError("no")
    place.loss()
    assert own.empty()
    with pytest.raises(queue.Empty):
        raise AssertionError(own.get(timeout=0.5))
