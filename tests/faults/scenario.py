"""Scenarios: what is done to which process of which cluster, and when; the same for the same seed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

LAUNCHER = "launcher"
# What is done to one process, and what to the run as a whole.
TO_PROCESS = ("kill", "stop", "term", "slow")
TO_RUN = ("disk full", "corrupt checkpoint", "closed stdout")
MOMENTS = ("start", "rendezvous", "first step", "middle", "checkpoint", "end")
ROLES = {
    "sync": ("worker:0", "worker:1", "evaluator:0", LAUNCHER),
    "async": ("chief:0", "worker:0", "worker:1", "ps:0", "evaluator:0", LAUNCHER),
}
LATEST = 0.4  # seconds after a moment has come


@dataclass(frozen=True)
class Scenario:
    """One run and what happens to it."""

    number: int
    mode: str
    target: str  # a task, or the launcher
    fault: str
    moment: str
    delay: float  # seconds from the moment to the fault
    network: str

    def __str__(self) -> str:
        return f"{self.mode}: {self.fault}, {self.target}, {self.moment}"


def scenarios(seed: int, count: int) -> Sequence[Scenario]:
    """Return so many scenarios: every combination in a random order, then every one again with other delays."""
    dice = random.Random(seed)
    found: list[Scenario] = []
    while len(found) < count:
        for mode, target, fault, moment in dice.sample(all_there_are := combinations(), len(all_there_are)):
            delay, network = round(dice.uniform(0, LATEST), 3), dice.choice(("private", "host"))
            found.append(Scenario(len(found) + 1, mode, target, fault, moment, delay, network))
    return found[:count]


def combinations() -> list[tuple[str, str, str, str]]:
    """Return mode, target, fault and moment of everything that can happen."""
    found = []
    for mode, targets in ROLES.items():
        found += [(mode, *rest) for rest in itertools.product(targets, TO_PROCESS, MOMENTS) if makes_sense(*rest)]
        found += [(mode, LAUNCHER, fault, moment) for fault in TO_RUN for moment in MOMENTS if fits(fault, moment)]
    return found


def makes_sense(target: str, fault: str, moment: str) -> bool:
    """Whether this can happen to that process: an evaluator neither trains nor writes."""
    if target == LAUNCHER and fault in ("stop", "slow"):
        return False  # whoever stops the launcher stops the watching, not the training
    return target != "evaluator:0" or moment in ("start", "first step", "middle", "end")


def fits(fault: str, moment: str) -> bool:
    """Whether this can happen to a run then: what is to be corrupted must be there."""
    return fault != "corrupt checkpoint" or moment in ("middle", "checkpoint", "end")
