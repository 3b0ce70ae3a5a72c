"""What a leader answers to a hello: who does not belong, and where to resume."""

from __future__ import annotations

from typing import Any

import pytest

from launcher import __version__
from launcher.contract.version import PROTOCOL, own_version
from launcher.runtime.rendezvous.events import Extended, FindHosts, Leave, Verified, Verifying
from launcher.runtime.rendezvous.messages import PROGRESS
from launcher.runtime.rendezvous.proof import Handshake
from tests.unit.runtime.rendezvous.histories import ASYNC, OFFER, PREPARE, TOKEN, History, error, formed, missing

# Who does not belong


@pytest.mark.parametrize("task", ["worker:3", "ps:0", "worker:0", "worker", "", None, 1, ["worker:1"], {"a": 1}])
def test_a_task_that_is_no_member_is_refused(task: Any) -> None:
    history = History()
    assert history.told(history.hello(task)) == [{"refused": f"{task} is not a task of this cluster"}, "hung up"]


@pytest.mark.parametrize("key", ["", TOKEN[:-1], f"{TOKEN}.", "ü", "\ud800"])
def test_another_key_is_refused_and_the_leader_says_whose(key: str) -> None:
    history = History()
    reason = "worker:1 has another key than worker:0"
    assert history.told(history.hello("worker:1", key)) == [{"refused": reason, **own_version()}, "hung up"]
    history.wait(1.0)
    assert missing(history) == [[f"worker:1 (refused: {reason})", "worker:2"]]


@pytest.mark.parametrize("proof", [None, 1, {}, [], "", "ü", "\ud800", "0" * 64])
def test_what_is_no_proof_is_refused(proof: object) -> None:
    history = History()
    history.say(1, task="worker:1", nonce="1", **own_version())
    (challenge,) = history.told(1)
    assert isinstance(challenge, dict)
    history.say(1, proof=proof)
    assert history.told(1)[-1] == "hung up"
    history.say(2, task="worker:1", nonce="1", **own_version())
    history.say(2, proof=challenge["proof"])  # the leader's own words prove nothing
    assert history.told(2)[-1] == "hung up"


def too_deep() -> list[Any]:
    """Lists within lists, more of them than Python can show."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


@pytest.mark.parametrize("key", ["task", "nonce", "proof", "version", "launcher"])
def test_what_is_too_deep_to_be_shown_harms_nobody_but_who_says_it(key: str) -> None:
    history = History()
    hello = {"task": "worker:1", "nonce": "1", **own_version()}
    history.say(1, **(hello | ({"version": 1} if key == "launcher" else {}) | {key: too_deep()}))
    history.say(1, proof=too_deep())
    assert "hung up" in history.told(1)
    history.form()


def test_a_proof_that_was_overheard_proves_nothing_a_second_time() -> None:
    history = History()
    history.say(1, task="worker:1", nonce="1", **own_version())
    (challenge,) = history.told(1)
    assert isinstance(challenge, dict)
    proof = Handshake(TOKEN, "worker:0", "worker:1", "1", challenge["nonce"]).member_proof()
    history.say(2, task="worker:1", nonce="1", **own_version())
    history.say(2, proof=proof)
    assert history.told(2)[-1] == "hung up"
    history.say(1, proof=proof)
    history.wait(1.0)
    assert missing(history) == [["worker:2"]]


def test_strangers_who_prove_nothing_change_nothing_of_a_run_that_trains() -> None:
    history, first, second = formed()
    for number in range(10):
        history.hello("worker:1", key="a guess")
        history.lose(history.hello("worker:2", version=1))
        history.say(90 + number, task="worker:1", nonce="1", **own_version())  # which then says no more
    history.wait(30.0)
    assert history.asked() == []
    assert set(map(str, [*history.told(first), *history.told(second)])) == {str({"alive": True})}


def test_another_version_is_refused_in_a_sentence_that_the_leader_repeats() -> None:
    history = History()
    other = history.hello("worker:1", version=PROTOCOL + 1, launcher="7.8.9")
    sentence = (
        f"worker:1 runs launcher 7.8.9 (protocol {PROTOCOL + 1}), worker:0 runs launcher {__version__} "
        f"(protocol {PROTOCOL}): install the same version on every machine"
    )
    assert history.told(other) == [{"refused": sentence, **own_version()}, "hung up"]
    history.wait(1.0)
    assert missing(history) == [[f"worker:1 (refused: {sentence})", "worker:2"]]
    history.wait(60.0)
    assert str(error(history)).endswith(f"missing: worker:1 (refused: {sentence}), worker:2")


def test_a_launcher_without_a_version_is_an_older_one() -> None:
    history = History()
    history.say(1, task="worker:1", token=TOKEN, holds=[])
    (refused, _) = history.told(1)
    assert isinstance(refused, dict)
    assert refused["refused"].startswith(
        f"worker:1 runs an older launcher (before protocol {PROTOCOL}), worker:0 runs launcher "
    )


def test_who_comes_with_the_right_version_at_last_is_no_longer_refused() -> None:
    history = History()
    history.hello("worker:1", version=1)
    history.lose(history.hello("worker:1"))
    history.wait(1.0)
    assert missing(history) == [["worker:1", "worker:2"]]


# Where to resume


def test_all_hear_where_to_resume_and_who_lacks_the_checkpoint_gets_its_files() -> None:
    history = History(offer=OFFER)
    lacks, has = history.hello("worker:1"), history.hello("worker:2")
    assert history.told(lacks) == history.told(has) == [PREPARE | {"prepare": OFFER.to_dict()}]
    history.say(lacks, lacks=True)
    history.prepare(has)
    assert (history.told(lacks), history.told(has)) == (["files"], [])


def test_who_serves_hears_the_step_and_gets_no_files() -> None:
    history = History(offer=OFFER, **ASYNC)
    for connection in [history.hello(name) for name in history.others]:
        assert history.told(connection) == [PREPARE | {"prepare": {"step": 7}}]


# Gigabytes


def test_members_come_while_the_leader_verifies_and_hear_whom_they_wait_for() -> None:
    history = History(offer=None)
    first, second = history.hello("worker:1"), history.hello("worker:2")
    history.happen(Verifying("verifying checkpoint step-7: 1.0 of 8.0 GiB"))
    history.wait(1.0)
    waiting = {"waiting": ["worker:0 (verifying checkpoint step-7: 1.0 of 8.0 GiB)"]}
    assert history.told(first) == history.told(second) == [waiting]
    history.happen(Verified(OFFER))
    assert history.told(first) == [PREPARE | {"prepare": OFFER.to_dict()}]


def test_nobody_runs_out_of_time_while_a_checkpoint_is_on_its_way() -> None:
    history = History(offer=None)
    connections = [history.hello("worker:1"), history.hello("worker:2")]
    for gib in range(20):
        history.happen(Verifying(f"{gib}.0 of 20.0 GiB"))
        history.wait(10.0)
    history.happen(Verified(OFFER))
    history.prepare(connections[0])
    for gib in range(20):
        history.say(connections[1], busy=f"receiving checkpoint step-7: {gib}.0 of 20.0 GiB")
        history.wait(10.0)
    said = history.told(connections[0])
    assert said[-1] == {
        "waiting": ["worker:2 (receiving checkpoint step-7: 19.0 of 20.0 GiB)"],
        "left": pytest.approx(PROGRESS - 10.0),
    }
    assert any(isinstance(action, Extended) for action in history.asked())
    history.prepare(connections[1])
    assert isinstance(history.asked()[-1], FindHosts)


def test_who_gets_no_further_with_a_checkpoint_is_waited_for_only_so_long() -> None:
    history = History(offer=OFFER)
    first, second = history.hello("worker:1"), history.hello("worker:2")
    history.prepare(first)
    history.wait(50.0)
    history.say(second, busy="receiving checkpoint step-7: 1.0 of 8.0 GiB")
    history.wait(PROGRESS - 1.0)
    assert not any(isinstance(action, Leave) for action in history.asked())
    history.wait(2.0)
    assert str(error(history)).endswith("missing: worker:2 (receiving checkpoint step-7: 1.0 of 8.0 GiB)")


def test_what_a_member_says_of_itself_is_short_and_printable() -> None:
    history = History(offer=OFFER)
    first, second = history.hello("worker:1"), history.hello("worker:2")
    history.prepare(first)
    history.told(first)
    history.say(second, busy="\x1b[2J" + "x" * 10_000)
    history.wait(1.0)
    (message,) = history.told(first)
    assert isinstance(message, dict)
    assert len(message["waiting"][0]) < 200
    assert message["waiting"][0].isprintable()
