"""Whose host is known, and how a wait is announced."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace

import pytest

from launcher.errors import FormationError
from launcher.runtime.rendezvous import waiting as module
from launcher.runtime.rendezvous.messages import not_formed
from launcher.runtime.rendezvous.waiting import Wait, find_hosts
from tests.unit.runtime.conftest import task_context

# A name with a space: it is refused before anybody is asked for it.
UNKNOWN = {"worker": ("127.0.0.1:1", "no host:1"), "ps": ("[::1]:1", "nor this:1")}
NAMES = ["worker:1 (no address is known here for no host)", "ps:1 (no address is known here for nor this)"]


def never(missing: Collection[str]) -> None:
    raise AssertionError(f"somebody waits for {missing}")


def test_hosts_that_are_known_are_not_waited_for() -> None:
    cluster = {"worker": ("127.0.0.1:1", "localhost:2", "[::1]:3")}
    find_hosts(task_context(cluster=cluster), Wait(0.0, never))


def test_at_the_deadline_every_task_is_named_whose_host_is_unknown() -> None:
    with pytest.raises(FormationError) as caught:
        find_hosts(task_context(cluster=UNKNOWN), Wait(0.0, never))
    assert str(caught.value) == str(not_formed(NAMES))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock for who waits: it goes on by what they sleep."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


def test_a_host_that_becomes_known_is_waited_for_and_named_meanwhile(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, said = {"127.0.0.1", "::1", "nor this"}, []

    def waiting(missing: Collection[str]) -> None:
        said.append((clock[0], list(missing)))
        if len(said) == 2:
            known.add("no host")

    monkeypatch.setattr(module, "_is_known", known.__contains__)
    find_hosts(task_context(cluster=UNKNOWN), Wait(60.0, waiting))
    assert said == [(5.0, NAMES[:1]), (10.0, NAMES[:1])]


def test_a_wait_for_hosts_does_not_outlast_the_deadline(clock: list[float]) -> None:
    with pytest.raises(FormationError):
        find_hosts(task_context(cluster=UNKNOWN), Wait(0.75, never))
    assert clock == [0.75]
