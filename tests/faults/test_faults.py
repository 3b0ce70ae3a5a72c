"""Eleven of the fault runner's scenarios; ``make faults`` has the others."""

from __future__ import annotations

import os

import pytest

from tests.faults.runner import judge, truth_of
from tests.faults.scenario import LAUNCHER, ROLES, Scenario, combinations, scenarios
from tests.support.workplace import Ran

# What kills an evaluator, or the launcher, is in tests/cluster.
ELEVEN = [
    ("sync", "worker:0", "kill", "checkpoint"),
    ("sync", "worker:1", "kill", "rendezvous"),
    ("sync", "worker:1", "term", "middle"),
    ("sync", LAUNCHER, "closed stdout", "first step"),
    ("sync", LAUNCHER, "hang-up twice", "checkpoint"),
    ("sync", LAUNCHER, "corrupt checkpoint", "checkpoint"),
    ("sync", LAUNCHER, "disk full", "middle"),
    ("async", "ps:0", "kill", "checkpoint"),
    ("async", "chief:0", "kill", "start"),
    ("async", "worker:0", "slow", "middle"),
    ("sync", "worker:1", "stop", "middle"),
]


@pytest.mark.timeout(600)  # a scenario has runner.LIMIT, and the undisturbed run may come before it
@pytest.mark.parametrize(("mode", "target", "fault", "moment"), ELEVEN, ids=[" ".join(one) for one in ELEVEN])
def test_a_cluster_that_is_hit_ends_in_time_as_it_must(
    undisturbed: Ran, mode: str, target: str, fault: str, moment: str
) -> None:
    if fault == "disk full" and os.geteuid():
        pytest.skip("only root can mount a small disk")
    network = "host" if mode == "async" else "private"
    verdict = judge(Scenario(1, mode, target, fault, moment, 0.0, network), truth_of(undisturbed))
    assert verdict.passed, f"{verdict.problem}\n{verdict.output}"


# What a seed means


def test_the_eleven_are_among_the_scenarios() -> None:
    assert {(mode, target, fault, moment) for mode, target, fault, moment in ELEVEN} <= set(combinations())


def test_a_seed_gives_the_same_scenarios_again_and_another_one_others() -> None:
    assert scenarios(7, 40) == scenarios(7, 200)[:40]
    assert scenarios(7, 40) != scenarios(8, 40)


def test_every_combination_comes_before_one_comes_again() -> None:
    there_are = combinations()
    found = scenarios(7, len(there_are) + 5)
    hits = [(one.mode, one.target, one.fault, one.moment) for one in found]
    assert set(hits[: len(there_are)]) == set(there_are)
    assert [one.number for one in found] == list(range(1, len(found) + 1))


def test_every_role_of_both_modes_is_killed_stopped_and_asked_to_end() -> None:
    hit = {(mode, target, fault) for mode, target, fault, _ in combinations()}
    for mode, targets in ROLES.items():
        assert {(mode, target, fault) for target in targets for fault in ("kill", "term")} <= hit
        assert {(mode, target, fault) for target in targets if target != LAUNCHER for fault in ("stop", "slow")} <= hit
