"""What a leader answers to a hello: who does not belong, and where to resume."""

from __future__ import annotations

from typing import Any

import pytest

from launcher import __version__
from launcher.contract.version import PROTOCOL
from tests.unit.runtime.rendezvous.histories import ASYNC, OFFER, PREPARE, TOKEN, History, error, missing

# Who does not belong


@pytest.mark.parametrize("task", ["worker:3", "ps:0", "worker:0", "worker", "", None, 1, ["worker:1"], {"a": 1}])
def test_a_task_that_is_no_member_is_refused(task: Any) -> None:
    history = History()
    assert history.told(history.hello(task)) == [{"refused": f"{task} is not a task of this cluster"}, "hung up"]


@pytest.mark.parametrize("token", ["", TOKEN[:-1], f"{TOKEN}.", None, 1, {}, "ü", "\ud800"])
def test_a_wrong_token_is_refused(token: Any) -> None:
    history = History()
    reason = "this rendezvous belongs to another run, or the cluster files differ"
    assert history.told(history.hello("worker:1", token=token)) == [{"refused": reason}, "hung up"]
    history.wait(1.0)
    assert missing(history) == [["worker:1", "worker:2"]]


def test_another_version_is_refused_in_a_sentence_that_the_leader_repeats() -> None:
    history = History()
    other = history.hello("worker:1", version=PROTOCOL + 1, launcher="7.8.9")
    sentence = (
        f"worker:1 runs launcher 7.8.9 (protocol {PROTOCOL + 1}), worker:0 runs launcher {__version__} "
        f"(protocol {PROTOCOL}): install the same version on every machine"
    )
    assert history.told(other) == [{"refused": sentence}, "hung up"]
    history.wait(1.0)
    assert missing(history) == [[f"worker:1 (refused: {sentence})", "worker:2"]]
    history.wait(60.0)
    assert str(error(history)).endswith(f"missing: worker:1 (refused: {sentence}), worker:2")


def test_a_launcher_without_a_version_is_an_older_one() -> None:
    history = History()
    history.say(1, task="worker:1", token=TOKEN, holds=[])
    (refused, _) = history.told(1)
    assert isinstance(refused, dict)
    assert refused["refused"].startswith("worker:1 runs an older launcher (protocol 1), worker:0 runs launcher ")


def test_who_comes_with_the_right_version_at_last_is_no_longer_refused() -> None:
    history = History()
    history.hello("worker:1", version=1)
    history.lose(history.hello("worker:1"))
    history.wait(1.0)
    assert missing(history) == [["worker:1", "worker:2"]]


# Where to resume


def test_who_lacks_the_checkpoint_gets_its_files_and_who_has_it_its_name() -> None:
    history = History(offer=OFFER)
    lacks, has = history.hello("worker:1", holds=["y"]), history.hello("worker:2", holds=["x", "y"])
    assert history.told(lacks) == [PREPARE | {"prepare": OFFER}, "files"]
    assert history.told(has) == [PREPARE | {"prepare": {"step": 7, "id": "x"}}]


@pytest.mark.parametrize("holds", [None, 1, "x", {"x": 1}, [None, 1, ["x"]]])
def test_who_does_not_say_what_it_holds_is_sent_all(holds: object) -> None:
    history = History(offer=OFFER)
    history.hello("worker:1")
    assert history.told(history.hello("worker:2", holds=holds))[-1] == "files"


def test_who_serves_hears_the_step_and_gets_no_files() -> None:
    history = History(offer=OFFER, **ASYNC)
    for connection in [history.hello(name) for name in history.others]:
        assert history.told(connection) == [PREPARE | {"prepare": {"step": 7}}]
