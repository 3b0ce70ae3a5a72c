"""How a message travels."""

from __future__ import annotations

import pytest

from launcher.runtime.failure import PeerFailed
from launcher.runtime.rendezvous.messages import NONSENSE, Inbox, encoded, failure_message, not_formed, peer_failed


def inbox(*parts: bytes) -> Inbox:
    there = Inbox()
    for part in parts:
        there.put(part)
    return there


def test_a_message_arrives_as_it_was_sent() -> None:
    there = inbox(encoded({"failed": "a\nb ü", "exit_code": 3}), encoded({"end": True}))
    assert there.message() == {"failed": "a\nb ü", "exit_code": 3}
    assert there.message() == {"end": True}
    assert there.message() is None


@pytest.mark.parametrize("broken", [b"", b'{"end": true}', b'{"end', b"\xff"])
def test_a_line_that_is_not_complete_is_no_message(broken: bytes) -> None:
    there = inbox(b'{"alive": true}\n' + broken)
    assert there.message() == {"alive": True}
    assert there.message() is None


def test_a_message_may_come_in_pieces() -> None:
    there = inbox(b'{"al', b'ive": ')
    assert there.message() is None
    there.put(b'true}\n{"go"')
    assert there.message() == {"alive": True}
    assert there.take(99) == b'{"go"'


@pytest.mark.parametrize("said", [b"[]\n", b"null\n", b"1\n", b'"go"\n'])
def test_what_is_no_object_says_nothing(said: bytes) -> None:
    assert inbox(said).message() == {}


@pytest.mark.parametrize("said", [b"\n", b"HTTP/1.1 400\r\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n"])
def test_what_is_not_json_is_nonsense(said: bytes) -> None:
    with pytest.raises(NONSENSE):
        inbox(said).message()


@pytest.mark.parametrize(
    ("said", "limit"), [(b"x" * 4096, 4096), (b"{}" + b" " * 4094 + b"\n", 4096), (b"x" * 2**20, 2**20)]
)
def test_a_line_that_is_too_long_is_nonsense(said: bytes, limit: int) -> None:
    with pytest.raises(ValueError, match=f"more than {limit} bytes"):
        inbox(said).message(limit)


def test_bytes_between_messages_are_taken_as_they_are() -> None:
    there = inbox(b'{"prepare": 1}\n\n{}\xff{"go": true}\n')
    there.message()
    assert [there.take(2), there.take(2), there.message()] == [b"\n{", b"}\xff", {"go": True}]


def test_a_failure_arrives_as_it_was() -> None:
    failure = peer_failed(failure_message(PeerFailed("no", 7, own=True)))
    assert (str(failure), failure.exit_code, failure.own) == ("no", 7, True)
    assert [peer_failed({"failed": "no", **more}).exit_code for more in ({}, {"exit_code": "x"})] == [1, 1]


def test_a_failure_that_takes_many_words_is_told_in_one_line_that_can_be_sent() -> None:
    failure = PeerFailed("worker:1 failed: " + "\U0001f600" * 1_000_000, 3)
    message = inbox(encoded(failure_message(failure))).message()
    assert message is not None
    told = peer_failed(message)
    assert str(told).startswith("worker:1 failed: \U0001f600")
    assert str(told).endswith("… (the log of that task has the rest)")
    assert told.exit_code == 3


def test_who_never_came_is_named_with_exit_code_3() -> None:
    error = not_formed(["worker:1", "ps:0"])
    assert str(error) == "the cluster did not form in time (run.start_timeout); missing: worker:1, ps:0"
    assert error.exit_code == 3
