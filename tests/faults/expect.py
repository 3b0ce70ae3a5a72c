"""What must come of each fault: the exit codes that are right, and what each of them has to look like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.contract.history import folded
from tests.faults.scenario import LAUNCHER, TO_RUN, Scenario
from tests.support.jobs import STEPS, TOLERANCE
from tests.support.processes import survivors

WHEN = ("time", "wall_time", "attempt", "resumed_at")  # of a report, and not the same in every run

KILLED, STOPPED = -9, 143
TERMINATED = -15  # by SIGTERM, before it had anything to end
# What TensorFlow raises in those that are left; it tells a user neither who died nor of what.
OF_PEERS = re.compile("UnavailableError|AbortedError|CancelledError")


@dataclass(frozen=True)
class Truth:
    """What an undisturbed synchronous run ends with."""

    metrics: Mapping[str, Any]
    history: list[dict[str, Any]]


def codes(scenario: Scenario) -> set[int]:
    """Return the exit codes of the launcher that are right.

    Around the first step several are: the fault comes at a random moment after it, and a task that fails before the
    first step is not started again. At the end the run may be over before the fault is felt.
    """
    at_end = {0} if scenario.moment == "end" else set()
    if scenario.fault == "slow":
        return {0}
    if scenario.fault == "disk full":
        return {1} | at_end
    if scenario.fault in TO_RUN:
        return {STOPPED} | at_end
    if scenario.target == LAUNCHER and scenario.fault == "kill":
        return {KILLED} | at_end
    if scenario.target == LAUNCHER:
        return {STOPPED} | at_end | ({TERMINATED} if scenario.moment == "start" else set())
    return _codes_of_task(scenario)


def _codes_of_task(scenario: Scenario) -> set[int]:
    if scenario.fault == "stop" and scenario.target == "evaluator:0":
        return {0}  # nobody waits for it before the end
    serves = scenario.mode == "async" and scenario.target.startswith(("worker", "ps"))
    saves = scenario.fault == "term" and not serves  # asked to end, a task that trains lets all stop with a checkpoint
    if scenario.moment == "start":
        return {3} if scenario.fault == "stop" else {1}
    if scenario.moment in ("rendezvous", "first step"):
        return {0, 1} | ({3} if scenario.fault == "stop" else {STOPPED} if saves else set())
    return {STOPPED} | ({0} if scenario.moment == "end" else set()) if saves else {0}


def history(files: Path) -> list[dict[str, Any]]:
    """Return what the leader reported, without when."""
    lines = map(json.loads, (files / "metrics.jsonl").read_text().splitlines())
    reports = [line for line in folded(lines) if line["task"] != "evaluator:0"]
    return [{name: value for name, value in line.items() if name not in WHEN} for line in reports]


def wrong_result(scenario: Scenario, files: Path, truth: Truth) -> str:
    """Return what is wrong with the result of a run that is done."""
    result = json.loads((files / "result.json").read_text())
    metrics = result["metrics"]
    if (result["status"], result["steps"]) != ("done", STEPS):
        return f"{result['status']} at step {result['steps']}"
    if scenario.mode == "sync":
        if metrics != truth.metrics:
            return f"ends with {metrics}, not {truth.metrics}"
        return "" if history(files) == truth.history else "its history differs"
    if any(metrics[name] != pytest.approx(truth.metrics[name], abs=TOLERANCE) for name in ("W", "b")):
        return f"ends with {metrics}, not about {truth.metrics}"
    twice = result["updates"]["maybe_twice"]
    return "" if result["updates"]["applied"] == STEPS and 0 <= twice <= STEPS else f"updates: {result['updates']}"


def wrong_cause(scenario: Scenario, code: int, files: Path, output: str) -> str:
    """Return what is wrong with how a failure, or a restart, is explained."""
    if scenario.fault == "disk full":
        return "" if code == 0 or "No space left on device" in output else "the full disk is not named"
    if scenario.target == LAUNCHER or code == STOPPED:
        return ""
    if code in (1, 3):
        cause = json.loads((files / "result.json").read_text())["cause"]
        named = cause["task"] == scenario.target or scenario.target in cause["error"]
        right = named and cause["error"] in output and not OF_PEERS.search(cause["error"])
        return "" if right else f"the cause is given as {cause['task']}: {cause['error']}"
    return _wrong_restart(scenario, [line for line in output.splitlines() if "; attempt " in line])


def _wrong_restart(scenario: Scenario, said: Sequence[str]) -> str:
    """Return what is wrong with the lines in which a run that is done has told of its restarts."""
    if raw := [line for line in said if OF_PEERS.search(line)]:
        return f"the restart is explained by {raw[0]!r}"
    in_training = scenario.moment in ("middle", "checkpoint") and scenario.target != "evaluator:0"
    if scenario.fault == "kill" and in_training and not said:
        return "no restart is told of"
    if said and scenario.fault != "slow" and scenario.target not in said[0]:
        return f"the restart is explained by {said[0]!r}"
    return ""


def left_behind(place: Path, ports: list[int]) -> str:
    """Return which processes and ports of a run are still there."""
    _, alive = psutil.wait_procs(survivors(place), timeout=5)
    if alive:
        return f"processes {[process.pid for process in alive]} are left"
    listening = [found.laddr for found in psutil.net_connections("tcp") if found.status == psutil.CONN_LISTEN]
    taken = {address.port for address in listening if address} & set(ports)
    return f"ports {sorted(taken)} are left" if taken else ""
