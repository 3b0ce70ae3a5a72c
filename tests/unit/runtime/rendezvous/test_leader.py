"""The leader over real sockets, and strangers that say to it what members say, and what they do not."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading

import pytest

from launcher.contract.version import own_version
from launcher.errors import LauncherError
from launcher.runtime.failure import PeerFailed, PeerGone
from launcher.runtime.rendezvous import ending, hub, leading
from launcher.runtime.rendezvous.leader import Leader
from tests.unit.runtime.rendezvous.histories import ASYNC, TOKEN
from tests.unit.runtime.rendezvous.meeting import PATIENCE, Place, go, result, save


def test_the_leader_names_who_is_missing(place: Place) -> None:
    leader = place.send("worker:0")
    place.wait_until_missing("worker:1", "worker:2")
    first = place.member("worker:1")
    place.wait_until_missing("worker:2")
    second = place.member("worker:2")
    go(first, second)
    result(leader)


def test_a_leader_that_was_only_made_does_nothing(place: Place) -> None:
    save(place.files("worker:0"), 7)
    leader = Leader(place.context("worker:0"), 0.0, print)
    assert leader.step == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", place.port))


def test_a_hundred_members_meet_in_one_thread(place: Place) -> None:
    leader = place.send("worker:0", cluster={"worker": tuple(f"127.0.0.1:{number}" for number in range(1, 102))})
    members = [place.member(f"worker:{number}") for number in range(1, 101)]
    go(*members)
    result(leader)
    assert [thread.name for thread in threading.enumerate()].count("rendezvous") == 1


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
        b'{"task": "worker:1", "nonce": "\\ud800", "version": 3}\n{"proof": "\\ud800"}\n',
        b'{"task": "worker:1", "nonce": "1", "version": 3}\n{"proof": "' + b"x" * 10_000 + b'"}\n',
        b'{"task": "worker:1", "nonce": "1", "version": 3}\n' * 50,
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
    go(place.member("worker:1"), second)
    result(leader)
    assert capfd.readouterr().err == ""


def test_another_key_is_refused_in_a_sentence_on_both_sides(place: Place) -> None:
    place.send("worker:0")
    reason = "worker:1 has another key than worker:0"
    assert place.member("worker:1", "ü").hear_all() == [{"refused": reason, **own_version()}]
    place.wait_until_missing(f"worker:1 (refused: {reason})", "worker:2")


def test_a_flood_of_connections_does_not_keep_the_members_out(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub, "HELLO_TIMEOUT", PATIENCE)  # so that all of them are open at once
    leader = place.send("worker:0")
    flood = [place.stranger() for _ in range(300)]
    for stranger in flood[::2]:
        with contextlib.suppress(OSError):  # closed for a newer one
            stranger.say(b'{"task": "worker:1", "tok')
    go(place.member("worker:1"), place.member("worker:2"))
    result(leader)
    assert capfd.readouterr().err == ""


def test_who_lacks_the_checkpoint_gets_its_files(place: Place) -> None:
    saved = save(place.files("worker:0"), 7, b=b"\n{}\n" * 50_000, a=b"\xff\x00", empty=b"")
    place.send("worker:0")
    lacks, has = place.member("worker:1"), place.member("worker:2")
    assert has.prepare() == lacks.hear_until("prepare")["prepare"] == saved.offer().to_dict()
    lacks.say({"lacks": True})
    assert [(name, lacks.take(size)) for name, (size, _) in saved.offer().files.items()] == [
        ("a", b"\xff\x00"),
        ("b", b"\n{}\n" * 50_000),
        ("empty", b""),
    ]
    lacks.say({"prepared": True})
    for member in (lacks, has):
        member.hear_until("go")


def test_a_leader_that_cannot_read_its_checkpoint_any_more_ends_the_meeting_with_the_cause(place: Place) -> None:
    saved = save(place.files("worker:0"), 7, a=b"content")
    leader = place.send("worker:0")
    lacks, has = place.member("worker:1"), place.member("worker:2")
    has.prepare()
    lacks.hear_until("prepare")
    (saved.directory / "a").unlink()
    lacks.say({"lacks": True})
    with pytest.raises(LauncherError, match=r"^the checkpoint cannot be sent: \S+/a cannot be read: No such file"):
        result(leader)


def test_who_serves_gets_no_files(place: Place) -> None:
    save(place.files("chief:0"), 7, a=b"content")
    leader = place.send("chief:0", **ASYNC)
    members = [place.member("worker:0"), place.member("ps:0")]
    assert [member.prepare() for member in members] == [{"step": 7}] * 2
    assert result(leader).step == 7


def test_a_member_that_cannot_prepare_ends_the_meeting_with_its_words(place: Place) -> None:
    leader = place.send("worker:0")
    prepared, failing = place.member("worker:1"), place.member("worker:2")
    prepared.prepare()
    failing.hear_until("prepare")
    failing.say({"failed": "worker:2 failed: no disk", "exit_code": 7})
    assert prepared.hear_until("failed") == {"failed": "worker:2 failed: no disk", "exit_code": 7, "own": False}
    prepared.vanish()
    with pytest.raises(PeerFailed, match=r"^worker:2 failed: no disk$") as caught:
        result(leader)
    assert caught.value.exit_code == 7


def test_a_task_that_is_lost_while_the_leader_watches_makes_it_leave(place: Place) -> None:
    _, first, second = place.led()
    first.vanish()
    assert second.hear_until("lost") == {"lost": "worker:1 went away", "peer": "worker:1"}
    second.vanish()
    loss = place.loss()
    assert (type(loss), str(loss)) == (PeerGone, "worker:1 went away")


def test_a_serving_task_that_is_silent_for_too_long_is_lost(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "_SERVES_SILENTLY", 0.05)
    monkeypatch.setattr(ending, "GOODBYE", 0.01)
    leader = place.send("chief:0", **{**ASYNC, "cluster": {"chief": ("127.0.0.1:1",), "ps": ("127.0.0.2:1",)}})
    go(silent := place.member("ps:0"))
    result(leader).watch(place.lost.put)
    assert str(place.loss()) == "ps:0 has been silent for 0.05 s"
    # A task that was suspended, and is continued, hears that it was lost, also after what it says itself.
    silent.say({"alive": True})
    assert silent.hear_until("lost") == {"lost": "ps:0 has been silent for 0.05 s", "peer": "ps:0"}


def test_members_hear_that_the_leader_lives(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "ALIVE_EVERY", 0.01)
    _, *members = place.led()
    for member in members:
        assert [member.hear() for _ in range(3)] == [{"alive": True}] * 3


def test_all_are_sent_away_once_all_have_finished(place: Place) -> None:
    leader, *members = place.led()
    finished = place.start(leader.finish, stopped=True)
    for member in members:
        member.say({"finished": True})
        assert not finished.done()
    assert [member.hear_until("end") for member in members] == [{"end": True, "stopped": True}] * 2
    for member in members:
        member.vanish()
    result(finished)


def test_a_leader_that_breaks_ends_the_meeting_with_the_cause(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(leading.Leading, "_heard", lambda *_: 1 / 0)
    leader = place.send("worker:0")
    place.stranger().say({})
    with pytest.raises(LauncherError, match=r"^the rendezvous broke: ZeroDivisionError: division by zero$"):
        result(leader)
    assert "Traceback" in capfd.readouterr().err


def test_a_leader_that_gets_no_thread_says_so_and_waits_for_none(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    leader = place.context("worker:0")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        with pytest.raises(LauncherError, match="needs a thread: can't start new thread"):
            Leader(leader, PATIENCE, print).__enter__()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", place.port))


def test_a_leader_that_gets_no_file_descriptor_says_so_and_keeps_no_port(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left() -> tuple[socket.socket, socket.socket]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socketpair", none_left)
        with pytest.raises(LauncherError, match=r"^cannot listen at the rendezvous \S+: Too many open files$"):
            Leader(place.context("worker:0"), PATIENCE, print).__enter__()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", place.port))


def test_a_leader_does_not_serve(place: Place) -> None:
    leader, _, _ = place.led()
    with pytest.raises(NotImplementedError):
        leader.wait_for_end()
