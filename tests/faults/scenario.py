"""Scenarios: what is done to which process of which cluster, and when; the same for the same seed."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LAUNCHER, SPAWNER = "launcher", "spawner"
# What is done to one process.
TO_PROCESS = ("kill", "stop", "term", "slow")
MOMENTS = ("start", "rendezvous", "first step", "middle", "checkpoint", "end")
WORKERS = ("worker:0", "worker:1")
ROLES = {
    "sync": (*WORKERS, "evaluator:0", LAUNCHER),
    "async": ("chief:0", *WORKERS, "ps:0", "evaluator:0", LAUNCHER),
}
IN_TRAINING = ("first step", "middle")
WITH_CHECKPOINT = ("middle", "checkpoint")
# What else happens: to whom in which mode, and at which moments.
TO_RUN: Mapping[str, tuple[Mapping[str, Sequence[str]], Sequence[str]]] = {
    "disk full": (dict.fromkeys(ROLES, (LAUNCHER,)), MOMENTS),
    "closed stdout": (dict.fromkeys(ROLES, (LAUNCHER,)), MOMENTS),
    "corrupt checkpoint": (dict.fromkeys(ROLES, (LAUNCHER,)), (*WITH_CHECKPOINT, "end")),
    "hang-up twice": (dict.fromkeys(ROLES, (LAUNCHER,)), MOMENTS),
    # Where the launcher is the target, it is asked to end while its spawner is stopped.
    "spawner stopped": (dict.fromkeys(ROLES, (SPAWNER, LAUNCHER)), MOMENTS),
    "out of memory": (dict.fromkeys(ROLES, WORKERS), IN_TRAINING),
    "slow step": (dict.fromkeys(ROLES, WORKERS), IN_TRAINING),
    "big checkpoint": ({"sync": (*WORKERS, LAUNCHER), "async": ("chief:0", "ps:0", LAUNCHER)}, WITH_CHECKPOINT),
    # An asynchronous worker skips nothing: it draws other batches in every attempt.
    "slow skip": ({"sync": (*WORKERS, LAUNCHER)}, WITH_CHECKPOINT),
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
        for mode, target, fault, moment in _in_turn(dice):
            delay, network = round(dice.uniform(0, LATEST), 3), dice.choice(("private", "host"))
            found.append(Scenario(len(found) + 1, mode, target, fault, moment, delay, network))
    return found[:count]


def _in_turn(dice: random.Random) -> Sequence[tuple[str, str, str, str]]:
    """Return every combination, each fault's spread over all of them, so that a third of them has every fault."""
    there_are = combinations()
    many, so_far = Counter(fault for _, _, fault, _ in there_are), Counter[str]()
    places: dict[tuple[str, str, str, str], float] = {}
    for one in dice.sample(there_are, len(there_are)):
        places[one] = (so_far[one[2]] + dice.random()) / many[one[2]]
        so_far[one[2]] += 1
    return sorted(places, key=lambda one: places[one])


def combinations() -> list[tuple[str, str, str, str]]:
    """Return mode, target, fault and moment of everything that can happen."""
    found = []
    for mode, targets in ROLES.items():
        found += [(mode, *rest) for rest in itertools.product(targets, TO_PROCESS, MOMENTS) if makes_sense(*rest)]
        for fault, (whom, moments) in TO_RUN.items():
            found += [(mode, target, fault, moment) for target in whom.get(mode, ()) for moment in moments]
    return found


def makes_sense(target: str, fault: str, moment: str) -> bool:
    """Whether this can happen to that process: an evaluator neither trains nor writes."""
    if target == LAUNCHER and fault in ("stop", "slow"):
        return False  # whoever stops the launcher stops the watching, not the training
    return target != "evaluator:0" or moment in ("start", "first step", "middle", "end")
