"""A member, and what it makes of whoever answers in its leader's place."""

from __future__ import annotations

import json
import queue
import time
from typing import Any

import pytest

from launcher import __version__
from launcher.contract.version import PROTOCOL, own_version
from launcher.errors import FormationError, LauncherError
from launcher.runtime.failure import PeerFailed
from launcher.runtime.rendezvous import arrival, waiting, wire
from launcher.runtime.rendezvous.member import Member
from launcher.runtime.rendezvous.messages import HELLO_LIMIT
from tests.unit.runtime.rendezvous.histories import TOKEN
from tests.unit.runtime.rendezvous.meeting import GO, PATIENCE, PREPARE, Answering, Place, close, result, save


def prepare(offer: dict[str, Any]) -> bytes:
    return json.dumps({"prepare": offer} | own_version()).encode() + b"\n"


# The meeting


def test_a_member_says_who_it_is_and_which_checkpoints_it_has(place: Place, answering: Answering) -> None:
    identities = [save(place.files("worker:1"), step).identity for step in (7, 9)]
    answering.come()
    hello = {"task": "worker:1", "token": TOKEN, "holds": identities, "version": PROTOCOL, "launcher": __version__}
    assert answering.accept().hear() == hello


def test_a_member_with_many_checkpoints_names_the_newest_and_its_hello_stays_short(
    place: Place, answering: Answering
) -> None:
    identities = [save(place.files("worker:1"), step).identity for step in range(20)]
    answering.come()
    hello = answering.accept().hear()
    assert hello["holds"] == identities[-16:]
    assert len(json.dumps(hello)) < HELLO_LIMIT


def test_a_member_gets_prepared_says_so_and_goes_when_it_is_told_to(answering: Answering) -> None:
    meeting = answering.come()
    leader = answering.accept(b'{"waiting": ["worker:2"]}\n', b'{"new": "words"}\n', b"[]\n", PREPARE)
    assert leader.hear_until("prepared") == {"prepared": True}
    assert not meeting.done()
    leader.say({"waiting": []})
    leader.say({"go": True})
    assert result(meeting).step == 0


def test_a_member_resumes_from_what_it_is_told(place: Place, answering: Answering) -> None:
    saved = save(place.files("worker:1"), 7)
    meeting = answering.come()
    answering.accept(prepare({"step": 7, "id": saved.identity}), b'{"go": true}\n')
    assert result(meeting).step == 7


def test_a_member_writes_the_files_that_it_is_sent_and_reads_on_behind_them(place: Place, answering: Answering) -> None:
    offer = {"step": 7, "id": "x", "files": {"a": 5, "../b": 0, "c": 12}}
    meeting = answering.come()
    answering.accept(prepare(offer), b"\n{}\n\xff", b'{"go": true}', b'{"go": true}\n')
    assert result(meeting).step == 7
    saved = place.files("worker:1").at(7)
    content = {path.name: path.read_bytes() for path in saved.directory.iterdir() if path.name != "state.json"}
    assert saved.identity == "x"
    assert content == {"a": b"\n{}\n\xff", "b": b"", "c": b'{"go": true}'}


def test_a_leader_that_goes_in_the_midst_of_a_file_is_met_again(place: Place, answering: Answering) -> None:
    offer = prepare({"step": 7, "id": "x", "files": {"a": 5}})
    meeting = answering.come()
    close(answering.accept(offer, b"half"))
    leader = answering.accept()
    assert leader.hear()["holds"] == []
    leader.say(offer + b"whole" + b'{"go": true}\n')
    assert result(meeting).step == 7
    assert (place.files("worker:1").at(7).directory / "a").read_bytes() == b"whole"


def test_files_that_cannot_be_written_are_a_sentence(place: Place, answering: Answering) -> None:
    offer = {"step": 7, "id": "x", "files": {"x" * 300: 1}}
    meeting = answering.come()
    answering.accept(prepare(offer), b"y")
    with pytest.raises(LauncherError, match=r"^cannot write the checkpoint that worker:0 sends: .*too long"):
        result(meeting)
    assert place.files("worker:1").saved() == []


# Who is missing


def test_a_member_whose_leader_never_comes_names_it_and_where_it_looked(place: Place) -> None:
    with pytest.raises(FormationError) as caught:
        result(place.send("worker:1", seconds=0.05))
    assert str(caught.value).endswith(f"missing: worker:0 (no answer at 127.0.0.1:{place.port})")


def test_a_member_says_who_is_missing_as_it_hears_it(answering: Answering) -> None:
    said: queue.Queue[list[str]] = queue.Queue()
    answering.come(tell=lambda missing: said.put(list(missing)))
    leader = answering.accept()
    for missing in (["worker:2", "worker:3"], ["worker:3"]):
        while said.empty():
            leader.say({"waiting": missing})
            time.sleep(0.001)
        while said.get(timeout=PATIENCE) != missing:
            leader.say({"waiting": missing})
            time.sleep(0.001)


def test_a_member_on_its_leaders_host_leaves_it_to_the_leader_to_say_who_is_missing(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "SAY_EVERY", 0.0)  # it would say all that it hears
    said: queue.Queue[list[str]] = queue.Queue()
    cluster = {"worker": ("127.0.0.1:1", "127.0.0.1:2", "127.0.0.3:1")}
    meeting = answering.come(cluster=cluster, tell=lambda missing: said.put(list(missing)))
    answering.accept(b'{"waiting": ["worker:2"]}\n', GO)
    result(meeting)
    assert ["worker:2"] not in said.queue


def test_a_member_knows_from_the_leader_who_is_missing_at_the_deadline(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "HELLO_TIMEOUT", 2 * PATIENCE)  # that is not what ends it
    meeting = answering.come(seconds=0.0)
    answering.accept(b'{"waiting": ["worker:2", "worker:3"]}\n')
    with pytest.raises(FormationError, match=r"missing: worker:2, worker:3$"):
        result(meeting)


def test_a_member_that_does_not_know_a_host_says_so_to_the_leader(answering: Answering) -> None:
    cluster = {"worker": ("127.0.0.1:1", "127.0.0.2:1", "no host:1")}
    meeting = answering.come(seconds=0.0, cluster=cluster)
    failed = answering.accept(PREPARE).hear_until("failed")
    with pytest.raises(FormationError, match=r"worker:2 \(no address is known here for no host\)$") as caught:
        result(meeting)
    assert failed == {"failed": f"worker:1 failed: {caught.value}", "exit_code": 3, "own": False}


# Who answers


def test_a_leader_that_leaves_before_the_go_is_looked_for_again(answering: Answering) -> None:
    meeting = answering.come()
    for said in (b"", b'{"wai', b'{"waiting": ["worker:2"]}\n', PREPARE):
        close(answering.accept(said))
    answering.accept(GO)
    assert isinstance(result(meeting), Member)


def test_a_leader_that_is_killed_before_the_go_is_looked_for_again(answering: Answering) -> None:
    meeting = answering.come()
    answering.accept(PREPARE).vanish()
    answering.accept(GO)
    assert isinstance(result(meeting), Member)


def test_a_leader_that_accepts_and_says_nothing_is_looked_for_again(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "HELLO_TIMEOUT", 0.05)
    monkeypatch.setattr(wire, "_CONNECT_TIMEOUT", 2 * PATIENCE)
    answering.come()
    assert [[message["task"] for message in answering.accept().hear_all()] for _ in range(3)] == [["worker:1"]] * 3


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n"])
def test_what_answers_in_the_leaders_place_and_is_none_is_named(
    answering: Answering, place: Place, said: bytes
) -> None:
    meeting = answering.come()
    answering.accept(said)
    with pytest.raises(LauncherError, match=f"^not worker:0 but another program answers at .*:{place.port}$"):
        result(meeting)


def test_a_member_that_is_refused_says_why(answering: Answering) -> None:
    meeting = answering.come()
    answering.accept(b'{"refused": "worker:1 is not a task of this cluster"}\n')
    with pytest.raises(LauncherError, match=r"^worker:0 refused: worker:1 is not a task of this cluster$"):
        result(meeting)


def test_a_failure_before_the_go_ends_the_meeting(answering: Answering) -> None:
    meeting = answering.come()
    answering.accept(b'{"waiting": []}\n{"failed": "worker:2 failed: no", "exit_code": 5}\n')
    with pytest.raises(PeerFailed, match=r"^worker:2 failed: no$") as caught:
        result(meeting)
    assert caught.value.exit_code == 5


def test_a_leader_of_another_version_is_named_on_both_sides(answering: Answering) -> None:
    meeting = answering.come()
    failed = answering.accept(b'{"prepare": {"step": 0}}\n').hear_until("failed")
    sentence = (
        f"worker:0 runs an older launcher (protocol 1), worker:1 runs launcher {__version__} (protocol {PROTOCOL}): "
        "install the same version on every machine"
    )
    with pytest.raises(LauncherError) as caught:
        result(meeting)
    assert str(caught.value) == sentence
    assert failed["failed"] == f"worker:1 failed: {sentence}"


def test_a_member_that_was_only_made_connects_to_nobody(place: Place, answering: Answering) -> None:
    assert Member(place.context("worker:1"), 0.0, print).step == 0
    answering.come()
    assert answering.accept().hear()["task"] == "worker:1"  # the first connection is that of the one that came
