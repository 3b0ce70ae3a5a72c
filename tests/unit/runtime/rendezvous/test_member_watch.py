"""A member once all have met: what it tells its leader, and what ends it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.errors import FormationError
from launcher.runtime.failure import PeerFailed, PeerGone
from launcher.runtime.rendezvous import member as module
from tests.unit.runtime.rendezvous.meeting import PATIENCE, Answering, Place, block, close, result

GONE = r"^worker:0 went away without saying that the run is over$"


@pytest.mark.parametrize(
    ("end", "came_to_its_end"), [(b'{"end": true}\n', True), (b'{"end": 1, "stopped": 1}\n', False)]
)
def test_who_serves_ends_on_the_leaders_word(answering: Answering, end: bytes, came_to_its_end: bool) -> None:
    meeting, leader = answering.met(b'{"alive": true}\n{"new": "words"}\n', end)
    assert meeting.wait_for_end() is came_to_its_end
    assert leader.hear_all() == [{"prepared": True}]  # and the connection is closed: it needs the leader no more


def test_who_trains_says_that_it_is_finished_and_waits_for_the_word(place: Place, answering: Answering) -> None:
    meeting, leader = answering.met()
    (parted,) = place.finish(meeting)
    leader.hear_until("finished")
    assert not parted.done()
    leader.say({"end": True})
    result(parted)
    assert place.lost.empty()


@pytest.mark.parametrize("last", [b"", b'{"alive": true}\n', b'{"ali', b'{"end"', b'{"end": true}', b"\xff\n"])
@pytest.mark.parametrize("serves", [True, False])
def test_a_leader_that_goes_without_a_word_is_lost(
    place: Place, answering: Answering, last: bytes, serves: bool
) -> None:
    meeting, leader = answering.met(last)
    ended = place.start(meeting.wait_for_end) if serves else place.finish(meeting)[0]
    close(leader)
    with pytest.raises(PeerGone, match=GONE):
        ended.result(timeout=PATIENCE)


def test_who_trains_leaves_at_once_when_the_leader_goes(place: Place, answering: Answering) -> None:
    meeting, leader = answering.met()
    meeting.watch(place.lost.put)
    leader.vanish()
    loss = place.loss()
    assert type(loss) is PeerGone


def test_a_leader_that_falls_silent_is_lost(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.05)
    meeting, _ = answering.met()
    with pytest.raises(PeerGone, match=GONE):
        meeting.wait_for_end()


@pytest.mark.parametrize(("more", "code"), [({"exit_code": 5}, 5), ({}, 1)])
def test_a_failure_ends_who_trains_and_who_serves(
    place: Place, answering: Answering, more: dict[str, int], code: int
) -> None:
    failed = json.dumps({"failed": "worker:2 failed: no"} | more).encode() + b"\n"
    meeting, _ = answering.met(failed)
    meeting.watch(place.lost.put)
    loss = place.loss()
    assert (type(loss), str(loss), loss.exit_code) == (PeerFailed, "worker:2 failed: no", code)
    meeting, _ = answering.met(failed)
    with pytest.raises(PeerFailed, match=r"^worker:2 failed: no$"):
        meeting.wait_for_end()


def test_a_member_says_every_few_seconds_that_it_lives(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALIVE_EVERY", 0.01)
    _, leader = answering.met()
    leader.hear_until("prepared")
    assert [leader.hear() for _ in range(3)] == [{"alive": True}] * 3


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no"), {"failed": "worker:1 failed: ValueError: no", "exit_code": 1, "own": True}),
        (FormationError("no"), {"failed": "worker:1 failed: no", "exit_code": 3, "own": False}),
    ],
)
def test_what_fails_in_a_member_is_told(answering: Answering, error: Exception, said: dict[str, Any]) -> None:
    meeting, leader = answering.met()
    with pytest.raises(type(error)), block(meeting):
        raise error
    assert leader.hear_until("failed") == said


def test_a_leader_that_has_gone_need_not_hear_of_a_failure(answering: Answering) -> None:
    meeting, leader = answering.met()
    leader.vanish()
    for _ in range(3):
        with pytest.raises(ValueError, match="no"), block(meeting):
            raise ValueError("no")
