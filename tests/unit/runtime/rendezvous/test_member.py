"""A member, and what it makes of whoever answers in its leader's place."""

from __future__ import annotations

import queue
import socket
import threading
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
from tests.unit.runtime.rendezvous.meeting import GO, PATIENCE, PREPARE, Answering, Place, close, prepare, result, save

# The meeting


def test_a_member_says_who_it_is_and_proves_it_without_saying_the_key(answering: Answering) -> None:
    answering.come()
    leader = answering.accept()
    hello = answering.hello
    assert hello == {"task": "worker:1", "nonce": hello["nonce"], "version": PROTOCOL, "launcher": __version__}
    assert answering.proven
    first = hello["nonce"]
    leader.vanish()
    answering.accept()
    assert answering.hello["nonce"] != first


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
    answering.accept(prepare(saved.offer().to_dict()), b'{"go": true}\n')
    assert result(meeting).step == 7


def test_a_member_writes_the_files_that_it_is_sent_and_reads_on_behind_them(place: Place, answering: Answering) -> None:
    offer = {"step": 7, "id": "x", "files": {"a": [5, ""], "../b": [0, ""], "c": [12, ""]}}
    meeting = answering.come()
    answering.accept(prepare(offer), b"\n{}\n\xff", b'{"go": true}', b'{"go": true}\n')
    assert result(meeting).step == 7
    saved = place.files("worker:1").at(7)
    content = {path.name: path.read_bytes() for path in saved.directory.iterdir() if path.name != "state.json"}
    assert saved.identity == "x"
    assert content == {"a": b"\n{}\n\xff", "b": b"", "c": b'{"go": true}'}


def test_a_leader_that_goes_in_the_midst_of_a_file_is_met_again(place: Place, answering: Answering) -> None:
    offer = prepare({"step": 7, "id": "x", "files": {"a": [5, ""]}})
    meeting = answering.come()
    close(answering.accept(offer, b"half"))
    leader = answering.accept()
    leader.say(offer + b"whole" + b'{"go": true}\n')
    assert result(meeting).step == 7
    assert (place.files("worker:1").at(7).directory / "a").read_bytes() == b"whole"


def test_files_that_cannot_be_written_are_a_sentence(place: Place, answering: Answering) -> None:
    offer = {"step": 7, "id": "x", "files": {"x" * 300: [1, ""]}}
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


@pytest.mark.parametrize("host", ["x" * 64, "a..b"])
def test_a_leader_at_what_no_host_can_be_called_is_missing_like_any_other(place: Place, host: str) -> None:
    with pytest.raises(FormationError, match=rf"missing: worker:0 \(no answer at {host}:1\)$"):
        result(place.send("worker:1", seconds=0.05, rendezvous=f"{host}:1"))


# Who answers


def test_a_member_that_has_connected_to_itself_has_not_reached_its_leader(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def to_itself(address: tuple[str, int], timeout: float) -> socket.socket:
        # As the kernel may do while nobody listens at a port of those that it gives to who connects.
        connection = place.keep(socket.socket())
        connection.settimeout(timeout)
        connection.bind(address)
        connection.connect(address)
        return connection

    monkeypatch.setattr(socket, "create_connection", to_itself)
    with pytest.raises(FormationError, match=r"missing: worker:0 \(no answer at "):
        result(place.send("worker:1", seconds=0.05))


def test_a_member_that_gets_no_thread_says_so(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: object) -> None:
        raise RuntimeError("can't start new thread")

    meeting = answering.come()
    leader = answering.accept()
    monkeypatch.setattr(threading.Thread, "start", none_left)
    leader.say(GO)
    with pytest.raises(LauncherError, match=r"^the rendezvous needs a thread: can't start new thread$"):
        result(meeting)


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
    for leader in [answering.accept(says_hello=False) for _ in range(3)]:
        assert [message["task"] for message in leader.hear_all()] == ["worker:1"]


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"x" * HELLO_LIMIT]
)
def test_what_answers_in_the_leaders_place_and_is_none_is_named(
    answering: Answering, place: Place, said: bytes
) -> None:
    meeting = answering.come()
    answering.accept(said, says_hello=False)
    with pytest.raises(LauncherError, match=f"^another program than worker:0 answers at .*:{place.port}$"):
        result(meeting)


@pytest.mark.parametrize(
    "said",
    [
        {"prepare": 5},
        {"prepare": {"step": "x"}},
        {"prepare": {"step": 1, "files": 5}},
        {"prepare": {"step": 1, "files": {"a": 5}}},
        {"prepare": {"step": 1e400}},
        {"prepare": None},
        {"without": 3},
        {"without": [3]},
        {"without": ["worker"]},
        {"waiting": 3},
        {"waiting": {"a": 1}},
        {"left": "soon"},
        {"left": []},
        {"left": 10**400},
        {"without": [[[["worker:1"]]]]},
    ],
    ids=str,
)
def test_a_message_of_another_shape_is_nonsense_and_no_traceback(
    answering: Answering, place: Place, said: dict[str, Any]
) -> None:
    meeting = answering.come()
    answering.accept().say(said)
    with pytest.raises(LauncherError, match=f"^another program than worker:0 answers at .*:{place.port}$"):
        result(meeting)


@pytest.mark.parametrize("proof", [None, 1, "", "\ud800", "0" * 64])
def test_a_leader_that_does_not_prove_the_key_is_obeyed_in_nothing(
    answering: Answering, place: Place, proof: object
) -> None:
    meeting = answering.come()
    leader = answering.accept(says_hello=False)
    leader.say({"nonce": "1", "proof": proof, "prepare": {"step": 9}, "go": True} | own_version())
    sentence = f"^worker:0 at 127.0.0.1:{place.port} has another key, and belongs to another run or .* LAUNCHER_KEY"
    with pytest.raises(LauncherError, match=sentence):
        result(meeting)


def test_a_member_whose_key_is_another_says_so(answering: Answering, place: Place) -> None:
    meeting = answering.come(token="another")
    answering.accept(GO)
    with pytest.raises(LauncherError, match=f"^worker:0 at 127.0.0.1:{place.port} has another key"):
        result(meeting)
    assert not answering.proven


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


@pytest.mark.parametrize("more", [{}, {"prepare": {"step": 0}}, {"prepare": 5, "without": 3}])
def test_a_leader_of_another_version_is_named_before_anything_else_of_its_message_counts(
    answering: Answering, more: dict[str, Any]
) -> None:
    meeting = answering.come()
    answering.accept(says_hello=False).say({"version": PROTOCOL + 1, "launcher": "7.8.9"} | more)
    sentence = (
        f"worker:0 refused: worker:0 runs launcher 7.8.9 (protocol {PROTOCOL + 1}), worker:1 runs launcher "
        f"{__version__} (protocol {PROTOCOL}): install the same version on every machine"
    )
    with pytest.raises(LauncherError) as caught:
        result(meeting)
    assert str(caught.value) == sentence


def test_an_older_leader_refuses_in_words_of_its_own(answering: Answering) -> None:
    meeting = answering.come()
    answering.accept(says_hello=False).say({"refused": "worker:1 runs launcher 9, worker:0 launcher 1"})
    with pytest.raises(LauncherError, match=r"^worker:0 refused: worker:1 runs launcher 9, worker:0 launcher 1$"):
        result(meeting)


def test_a_member_that_was_only_made_connects_to_nobody(place: Place, answering: Answering) -> None:
    assert Member(place.context("worker:1"), 0.0, print).step == 0
    answering.come()
    answering.accept()
    assert answering.hello["task"] == "worker:1"  # the first connection is that of the one that came
