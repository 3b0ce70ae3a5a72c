"""Leader and members as they are, once they have met: how they fail together and part."""

from __future__ import annotations

import queue
from collections.abc import Sequence

import pytest

from launcher.errors import FormationError
from launcher.runtime.failure import PeerFailed, PeerGone
from launcher.runtime.rendezvous import leader as leader_module
from launcher.runtime.rendezvous import member as member_module
from launcher.runtime.rendezvous.events import Action, Event, Heard
from launcher.runtime.rendezvous.leading import Leading
from launcher.runtime.rendezvous.meeting import Meeting
from tests.unit.runtime.conftest import of_tensorflow
from tests.unit.runtime.rendezvous.histories import ASYNC
from tests.unit.runtime.rendezvous.meeting import PATIENCE, Place, block, end, result

BAD = ValueError("bad batch")  # as the user's code raises it


def fail(meeting: Meeting, error: BaseException) -> None:
    """End the task's part of the meeting with this error."""
    with pytest.raises(type(error)), block(meeting):
        raise error


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[dict[str, object]]:
    """What leaders hear."""
    found: queue.Queue[dict[str, object]] = queue.Queue()
    handle = Leading.handle

    def listens(leading: Leading, event: Event, now: float) -> Sequence[Action]:
        if isinstance(event, Heard):
            found.put(dict(event.message))
        return handle(leading, event, now)

    monkeypatch.setattr(Leading, "handle", listens)
    return found


def wait_for(heard: queue.Queue[dict[str, object]], message: dict[str, object]) -> None:
    while heard.get(timeout=PATIENCE) != message:
        pass


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
    end(failing)
    heard = [place.loss() for _ in (leader, other)]
    assert [type(loss) for loss in heard] == [PeerFailed, PeerFailed]
    assert {(str(loss), loss.exit_code) for loss in heard} == {(f"worker:1 failed: {said}", code)}


@pytest.mark.parametrize(
    "error", [PeerGone("x"), PeerFailed("x", 1), of_tensorflow("UnavailableError", "x"), KeyboardInterrupt()]
)
def test_what_another_tasks_end_has_caused_is_no_failure_to_tell(
    place: Place, error: BaseException, heard: queue.Queue[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader_module, "GOODBYE", 0.01)
    monkeypatch.setattr(member_module, "_LAST_WORD", 0.01)
    leader, member, other = place.formed()
    fail(member, error)
    other.watch(place.lost.put)
    place.start(member.finish)
    wait_for(heard, {"finished": True})  # it has heard all that the member said
    fail(leader, error)
    end(leader)
    assert type(place.loss()) is PeerGone  # that of the leader, which has ended


def test_where_a_task_is_lost_all_leave_at_once_and_know_whom_they_have_lost(place: Place) -> None:
    leader, lost, other = place.formed()
    for meeting in (leader, other):
        meeting.watch(place.lost.put)
    end(lost)
    for loss in (place.loss(), place.loss()):
        assert isinstance(loss, PeerGone)
        assert (str(loss), loss.peer) == ("worker:1 went away", "worker:1")


@pytest.mark.parametrize("survivor", [0, 2], ids=["leader", "member"])
def test_an_error_of_tensorflow_s_about_a_peer_gives_way_to_who_has_gone(place: Place, survivor: int) -> None:
    meetings = place.formed()
    for index, meeting in enumerate(meetings):
        if index != 1:
            meeting.watch(place.lost.put)
    end(meetings[1])
    place.loss()
    with pytest.raises(PeerGone, match=r"^worker:1 went away$") as caught, block(meetings[survivor]):
        raise of_tensorflow("UnavailableError", "recvmsg: Connection reset by peer")
    assert type(caught.value.__cause__).__name__ == "UnavailableError"


def test_an_error_about_a_peer_stays_where_nobody_has_gone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader_module, "GOODBYE", 0.01)
    monkeypatch.setattr(member_module, "_LAST_WORD", 0.01)
    error = of_tensorflow("UnavailableError", "x")
    leader, member, _ = place.formed()
    fail(member, error)
    fail(leader, error)


def test_a_leader_that_cannot_name_who_was_lost_closes_nothing_before_its_process_ends(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The others would take it for the first cause, since it writes down its own error a moment later.
    monkeypatch.setattr(leader_module, "GOODBYE", 0.01)
    leader, _, _ = place.formed()
    fail(leader, of_tensorflow("UnavailableError", "x"))
    assert "refused" in place.member("worker:7").hear()


# The end


def test_all_part_when_all_have_finished(place: Place) -> None:
    for parted in place.finish(*place.formed()):
        result(parted)
    assert place.lost.empty()


def test_nobody_leaves_while_one_still_trains(place: Place) -> None:
    leader, member, late = place.formed()
    early = place.finish(leader, member)
    with pytest.raises(TimeoutError):
        early[0].result(timeout=0.05)
    assert not early[1].done()
    for parted in [*early, *place.finish(late)]:
        result(parted)


@pytest.mark.parametrize("stopped", [False, True])
def test_who_serves_is_sent_away_and_knows_whether_the_run_came_to_its_end(place: Place, stopped: bool) -> None:
    chief, worker, ps = place.formed(**ASYNC)
    served = [place.start(meeting.wait_for_end) for meeting in (worker, ps)]
    for parted in place.finish(chief, stopped=stopped):
        result(parted)
    assert [result(there) for there in served] == [not stopped] * 2


def test_who_serves_hears_of_a_failure(place: Place) -> None:
    chief, worker, ps = place.formed(**ASYNC)
    served = [place.start(meeting.wait_for_end) for meeting in (worker, ps)]
    fail(chief, BAD)
    for there in served:
        with pytest.raises(PeerFailed, match=r"^chief:0 failed: ValueError: bad batch$"):
            result(there)


def test_a_member_whose_leader_is_lost_at_the_end_is_not_told_to_leave_but_raises(
    place: Place, heard: queue.Queue[dict[str, object]]
) -> None:
    leader, waiting, _ = place.formed()
    (finished,) = place.finish(waiting)
    wait_for(heard, {"finished": True})
    end(leader)
    with pytest.raises(PeerGone, match=r"^worker:0 went away without saying that the run is over$"):
        result(finished)
    assert place.lost.empty()


def test_members_say_that_they_live(
    place: Place, heard: queue.Queue[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_module, "ALIVE_EVERY", 0.01)
    place.formed()
    wait_for(heard, {"alive": True})


def test_a_member_that_fails_itself_is_not_told_to_leave_for_it(place: Place) -> None:
    leader, member, other = place.formed()
    own: queue.Queue[Exception] = queue.Queue()
    leader.watch(place.lost.put)
    other.watch(place.lost.put)
    member.watch(own.put)
    with pytest.raises(ValueError, match="no"), block(member):
        raise ValueError("no")
    place.loss()
    assert own.empty()
    with pytest.raises(queue.Empty):
        raise AssertionError(own.get(timeout=0.5))
