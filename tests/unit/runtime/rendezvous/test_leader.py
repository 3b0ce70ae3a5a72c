"""The leader, and strangers that say to it what members say, and what they do not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType

import pytest

from launcher.errors import FormationError
from launcher.runtime.failure import PeerFailed
from launcher.runtime.rendezvous import leader as module
from launcher.runtime.rendezvous import messages
from tests.unit.runtime.rendezvous.meeting import ASYNC, PATIENCE, TOKEN, Place, go, result, save

FIVE = {"worker": tuple(f"127.0.0.{number}:1" for number in range(1, 6))}

# Who is missing


def test_the_leader_names_who_is_missing(place: Place) -> None:
    leader = place.send("worker:0")
    place.wait_until_missing("worker:1", "worker:2")
    first = place.member("worker:1")
    place.wait_until_missing("worker:2")
    second = place.member("worker:2")
    go(first, second)
    result(leader)


def test_who_is_there_and_not_prepared_is_missing_still(place: Place) -> None:
    leader = place.send("worker:0")
    early, late = place.member("worker:1"), place.member("worker:2")
    early.prepare()
    place.wait_until_missing("worker:2")
    assert early.hear_until("waiting") == {"waiting": ["worker:2"]}
    go(late)
    early.hear_until("go")
    result(leader)


def test_a_member_hears_who_is_missing(place: Place) -> None:
    place.send("worker:0", cluster=FIVE)
    place.member("worker:3")
    place.wait_until_missing("worker:1", "worker:2", "worker:4")
    assert place.member("worker:1").hear_until("waiting") == {"waiting": ["worker:2", "worker:4"]}


def test_a_deadline_that_has_passed_names_all_who_never_came(place: Place) -> None:
    with pytest.raises(FormationError, match=r"\(run\.start_timeout\); missing: worker:1, worker:2$") as caught:
        result(place.send("worker:0", seconds=0.0))
    assert caught.value.exit_code == 3


def test_at_the_deadline_only_those_are_named_who_are_not_prepared(
    place: Place, forward_clock: Callable[[ModuleType, float], None]
) -> None:
    leader = place.send("worker:0")
    prepared, hangs = place.member("worker:2"), place.member("worker:1")
    prepared.prepare()
    assert prepared.hear_until("waiting") == {"waiting": ["worker:1"]}
    forward_clock(module, PATIENCE)
    prepared.hear_until("failed")
    hangs.vanish()
    with pytest.raises(FormationError, match=r"missing: worker:1$"):
        result(leader)


def test_a_hundred_members_meet(place: Place) -> None:
    leader = place.send("worker:0", cluster={"worker": tuple(f"127.0.0.1:{number}" for number in range(1, 102))})
    members = [place.member(f"worker:{number}") for number in range(1, 101)]
    go(*members)
    result(leader)


def test_a_member_that_goes_is_missing_again_and_may_come_again(place: Place) -> None:
    leader = place.send("worker:0")
    first = place.member("worker:1")
    place.wait_until_missing("worker:2")
    first.vanish()
    place.wait_until_missing("worker:1", "worker:2")
    second = place.member("worker:2")
    place.wait_until_missing("worker:1")
    go(place.member("worker:1"), second)
    result(leader)


def test_a_member_that_was_prepared_and_comes_again_must_get_prepared_again(place: Place) -> None:
    leader = place.send("worker:0")
    first, second = place.member("worker:1"), place.member("worker:2")
    first.prepare()
    first.hear_until("waiting")
    first.vanish()
    place.wait_until_missing("worker:1")
    again = place.member("worker:1")
    again.hear_until("prepare")
    second.prepare()
    assert second.hear_until("waiting") == {"waiting": ["worker:1"]}
    again.say({"prepared": True})
    for member in (again, second):
        member.hear_until("go")
    result(leader)


def test_the_end_of_an_old_connection_does_not_undo_a_newer_one(place: Place) -> None:
    leader = place.send("worker:0")
    old = place.member("worker:1")
    old.hear_until("waiting")
    new = place.member("worker:1")
    new.hear_until("waiting")
    old.vanish()
    go(place.member("worker:2"), new)
    result(leader)


# Who does not belong


@pytest.mark.parametrize("task", ["worker:3", "ps:0", "worker:0", "worker", "", None, 1, ["worker:1"], {"a": 1}])
def test_a_task_that_is_no_member_is_refused(place: Place, task: object, capfd: pytest.CaptureFixture[str]) -> None:
    place.send("worker:0")
    stranger = place.stranger()
    stranger.say({"task": task, "token": TOKEN})
    assert stranger.hear_all() == [{"refused": f"{task} is not a task of this cluster"}]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("token", ["", TOKEN[:-1], f"{TOKEN}.", None, 1, {}, "ü"])
def test_a_wrong_token_is_refused(place: Place, token: object) -> None:
    place.send("worker:0")
    stranger = place.stranger()
    stranger.say({"task": "worker:1", "token": token})
    reason = "this rendezvous belongs to another run, or the cluster files differ"
    assert stranger.hear_all() == [{"refused": reason}]
    place.wait_until_missing("worker:1", "worker:2")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\xff\xfe\n",
        b"x" * 10_000,
        b'{"task": "worker:1", "token": "' + TOKEN.encode() + b'", "holds": ["' + b"x" * 10_000 + b'"]}\n',
        b'{"task": "worker:1", "tok',
        b"[" * 4_000 + b"\n",
        b"[]\n",
        b"null\n",
        b'{"task": "worker:1"}\n',
        b'{"task": "worker:1", "token": "\\ud800"}\n',
    ],
    ids=lambda said: said[:30],
)
def test_what_is_not_a_hello_neither_joins_nor_stops_the_meeting(
    place: Place, said: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    leader = place.send("worker:0")
    stranger = place.stranger()
    with contextlib.suppress(OSError):  # closed with some of what was said unread
        stranger.say(said)
        stranger.end()
        stranger.hear_all()
    second = place.member("worker:2")
    place.wait_until_missing("worker:1")
    go(place.member("worker:1"), second)
    result(leader)
    assert capfd.readouterr().err == ""


def test_a_flood_of_connections_does_not_keep_the_members_out(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(messages, "HELLO_TIMEOUT", PATIENCE)  # so that all of them are open at once
    leader = place.send("worker:0")
    flood = [place.stranger() for _ in range(300)]
    for stranger in flood[::2]:
        stranger.say(b'{"task": "worker:1", "tok')
    go(place.member("worker:1"), place.member("worker:2"))
    result(leader)
    assert capfd.readouterr().err == ""


def test_a_connection_that_says_nothing_is_closed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "HELLO_TIMEOUT", 0.05)
    place.send("worker:0")
    assert place.stranger().hear_all() == []


# Where to resume


def test_a_run_without_checkpoints_begins_at_step_0(place: Place) -> None:
    place.send("worker:0")
    place.member("worker:1")
    assert place.member("worker:2", holds=["another"]).prepare() == {"step": 0}


def test_who_lacks_the_checkpoint_gets_its_files_and_who_has_it_its_name(place: Place) -> None:
    saved = save(place.files("worker:0"), 7, b=b"\n{}\n" * 50_000, a=b"\xff\x00", empty=b"")
    place.send("worker:0")
    lacks, has = place.member("worker:1", holds=["another"]), place.member("worker:2", holds=[saved.identity])
    assert has.prepare() == {"step": 7, "id": saved.identity}
    offer = lacks.hear_until("prepare")["prepare"]
    assert offer == saved.offer()
    state = (saved.directory / "state.json").read_bytes()
    assert [(name, lacks.take(size)) for name, size in offer["files"].items()] == [
        ("a", b"\xff\x00"),
        ("b", b"\n{}\n" * 50_000),
        ("empty", b""),
        ("state.json", state),
    ]
    lacks.say({"prepared": True})
    for member in (lacks, has):
        member.hear_until("go")


@pytest.mark.parametrize("holds", [None, 1, "7", {"a": 1}, [None, 1, ["x"]]])
def test_who_does_not_say_what_it_holds_is_sent_all(place: Place, holds: object) -> None:
    saved = save(place.files("worker:0"), 7)
    place.send("worker:0")
    place.member("worker:1")
    assert place.member("worker:2", holds=holds).hear_until("prepare") == {"prepare": saved.offer(), "without": []}


def test_who_serves_hears_the_step_and_gets_no_files(place: Place) -> None:
    save(place.files("chief:0"), 7, a=b"content")
    leader = place.send("chief:0", **ASYNC)
    members = [place.member("worker:0"), place.member("ps:0")]
    assert [member.prepare() for member in members] == [{"step": 7}] * 2
    assert result(leader).step == 7


# A failure before all have met


def test_a_member_that_cannot_prepare_ends_the_meeting_with_its_words(place: Place) -> None:
    leader = place.send("worker:0")
    prepared, failing = place.member("worker:1"), place.member("worker:2")
    prepared.prepare()
    failing.hear_until("prepare")
    failing.say({"failed": "worker:2 failed: no disk", "exit_code": 7})
    assert prepared.hear_until("failed") == {"failed": "worker:2 failed: no disk", "exit_code": 7, "own": False}
    with pytest.raises(PeerFailed, match=r"^worker:2 failed: no disk$") as caught:
        result(leader)
    assert caught.value.exit_code == 7
