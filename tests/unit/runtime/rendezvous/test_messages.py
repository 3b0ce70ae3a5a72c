"""How a message travels, and whose host is known."""

from __future__ import annotations

import io
import socket
from collections.abc import Collection
from types import SimpleNamespace

import pytest

from launcher.errors import FormationError
from launcher.runtime.rendezvous import messages
from launcher.runtime.rendezvous.messages import NONSENSE, find_hosts, not_formed, send
from tests.unit.runtime.conftest import task_context

# A name with a space: it is refused before anybody is asked for it.
UNKNOWN = {"worker": ("127.0.0.1:1", "no host:1"), "ps": ("[::1]:1", "nor this:1")}
NAMES = ["worker:1 (no address is known here for no host)", "ps:1 (no address is known here for nor this)"]


# One message


def test_a_message_arrives_as_it_was_sent() -> None:
    here, there = socket.socketpair()
    with here, there, there.makefile("rb") as lines:
        send(here, failed="a\nb ü", exit_code=3)
        send(here, end=True)
        here.close()
        assert list(messages.messages(lines)) == [{"failed": "a\nb ü", "exit_code": 3}, {"end": True}]


@pytest.mark.parametrize("broken", [b"", b'{"end": true}', b'{"end', b"\xff"])
def test_a_last_line_that_broke_off_says_nothing(broken: bytes) -> None:
    assert list(messages.messages(io.BytesIO(b'{"alive": true}\n' + broken))) == [{"alive": True}]


def test_what_is_no_object_is_passed_over() -> None:
    assert list(messages.messages(io.BytesIO(b'[]\nnull\n1\n"go"\n{"go": true}\n'))) == [{"go": True}]


@pytest.mark.parametrize("said", [b"\n", b"HTTP/1.1 400\r\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n"])
def test_what_is_not_json_is_nonsense(said: bytes) -> None:
    with pytest.raises(NONSENSE):
        next(messages.messages(io.BytesIO(said)))


def test_nothing_can_be_sent_to_who_has_gone() -> None:
    here, there = socket.socketpair()
    there.close()
    with here, pytest.raises(OSError, match="Broken pipe"):
        send(here, alive=True)


# Whose host is known


def never(missing: Collection[str]) -> None:
    raise AssertionError(f"somebody waits for {missing}")


def test_who_never_came_is_named_with_exit_code_3() -> None:
    error = not_formed(["worker:1", "ps:0"])
    assert str(error) == "the cluster did not form in time (run.start_timeout); missing: worker:1, ps:0"
    assert error.exit_code == 3


def test_hosts_that_are_known_are_not_waited_for() -> None:
    cluster = {"worker": ("127.0.0.1:1", "localhost:2", "[::1]:3")}
    find_hosts(task_context(cluster=cluster), deadline=0.0, waiting=never)


def test_at_the_deadline_every_task_is_named_whose_host_is_unknown() -> None:
    with pytest.raises(FormationError) as caught:
        find_hosts(task_context(cluster=UNKNOWN), deadline=0.0, waiting=never)
    assert str(caught.value) == str(not_formed(NAMES))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock for who waits: it goes on by what they sleep."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(messages, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


def test_a_host_that_becomes_known_is_waited_for_and_named_meanwhile(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, said = {"127.0.0.1", "::1", "nor this"}, []

    def waiting(missing: Collection[str]) -> None:
        said.append((clock[0], list(missing)))
        if len(said) == 2:
            known.add("no host")

    monkeypatch.setattr(messages, "_is_known", known.__contains__)
    find_hosts(task_context(cluster=UNKNOWN), deadline=60.0, waiting=waiting)
    assert said == [(5.0, NAMES[:1]), (10.0, NAMES[:1])]


def test_a_wait_for_hosts_does_not_outlast_the_deadline(clock: list[float]) -> None:
    with pytest.raises(FormationError):
        find_hosts(task_context(cluster=UNKNOWN), deadline=0.75, waiting=never)
    assert clock == [0.75]
