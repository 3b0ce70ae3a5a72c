"""What must come of each fault: the exit codes that are right, and what each of them has to look like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.contract.history import folded
from tests.faults.cluster import BIG, KEPT, LEAST, MEMORY_NAMED, SLOW_BATCH, SLOW_STEP, STALL, TEMPORARY
from tests.faults.scenario import LAUNCHER, SPAWNER, Scenario
from tests.support.jobs import STEPS, TOLERANCE
from tests.support.processes import all_within, is_within
from tests.support.workplace import records

WHEN = ("time", "wall_time", "attempt", "resumed_at")  # of a report, and not the same in every run

KILLED, STOPPED = -9, 143
AT_ONCE = {"term": -15, "hang-up twice": -1}  # by the signal itself, before there was anything to end
# What TensorFlow raises in those that are left; it tells a user neither who died nor of what.
KILLS = {"kill", "out of memory", "big checkpoint", "slow skip"}  # of those that end one task
SLOW = {"slow step", "slow skip"}  # and nothing hangs
SPAWNER_STOPPED = "was stopped by a signal"
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
    if scenario.fault in ("slow", "slow step") or scenario.target == SPAWNER:
        return {0}
    if scenario.fault == "disk full":
        return {1} | at_end
    if scenario.target == LAUNCHER:
        killed = scenario.fault in ("kill", "big checkpoint")
        at_once = {AT_ONCE[scenario.fault]} if scenario.moment == "start" and scenario.fault in AT_ONCE else set()
        return {KILLED if killed else STOPPED} | at_end | at_once
    return _codes_of_task(scenario)


def _codes_of_task(scenario: Scenario) -> set[int]:
    if scenario.fault == "stop" and scenario.target == "evaluator:0":
        return {0}  # nobody waits for it before the end
    serves = scenario.mode == "async" and scenario.target.startswith(("worker", "ps"))
    evaluates = scenario.target == "evaluator:0"
    # Asked to end, a task that trains lets all stop with a checkpoint.
    saves = scenario.fault == "term" and not serves and not evaluates
    if scenario.moment == "start":
        if evaluates:  # it meets nobody, so that it may be up by then
            return {0, 1}
        return {3} if scenario.fault == "stop" else {1}
    if scenario.moment in ("rendezvous", "first step"):
        return {0, 1} | ({3} if scenario.fault == "stop" else {STOPPED} if saves else set())
    return {STOPPED} | ({0} if scenario.moment == "end" else set()) if saves else {0}


def history(files: Path) -> list[dict[str, Any]]:
    """Return what the leader reported, without when."""
    return [{name: value for name, value in line.items() if name not in WHEN} for line in _reports(files)]


def _reports(files: Path) -> list[dict[str, Any]]:
    """Return what the leader reported."""
    return [dict(line) for line in folded(records(files / "metrics.jsonl")) if line["task"] != "evaluator:0"]


def wrong_result(scenario: Scenario, files: Path, truth: Truth) -> str:
    """Return what is wrong with the result of a run that is done."""
    result = json.loads((files / "result.json").read_text())
    metrics = result["metrics"]
    if (result["status"], result["steps"]) != ("done", STEPS):
        return f"{result['status']} at step {result['steps']}"
    if scenario.mode == "sync":
        if metrics != truth.metrics:
            return f"ends with {metrics}, not {truth.metrics}"
        # With fewer checkpoints fewer calls end, and it is those that are reported, but for what the job evaluates.
        reports = [history(files), truth.history]
        if scenario.fault == "big checkpoint":
            reports = [[line for line in lines if "testing_cost" in line] for lines in reports]
        return "" if reports[0] == reports[1] else "its history differs"
    if any(metrics[name] != pytest.approx(truth.metrics[name], abs=TOLERANCE) for name in ("W", "b")):
        return f"ends with {metrics}, not about {truth.metrics}"
    twice = result["updates"]["maybe_twice"]
    return "" if result["updates"]["applied"] == STEPS and 0 <= twice <= STEPS else f"updates: {result['updates']}"


def wrong_cause(scenario: Scenario, code: int, files: Path, output: str) -> str:
    """Return what is wrong with how a failure, or a restart, is explained."""
    match scenario.fault:
        case "disk full":
            return "" if code == 0 or "No space left on device" in output else "the full disk is not named"
        case "spawner stopped":
            named = SPAWNER_STOPPED in output or scenario.moment == "end"  # when it may have nothing left to do
            return "" if named else "the spawner that was stopped is not named"
        case "out of memory" if MEMORY_NAMED not in output:
            return "the memory that ran out is not named"
    if scenario.target == LAUNCHER or code == STOPPED:
        return ""
    if code in (1, 3):
        cause = json.loads((files / "result.json").read_text())["cause"]
        named = cause["task"] == scenario.target or scenario.target in cause["error"]
        right = named and cause["error"] in output and not OF_PEERS.search(cause["error"])
        return "" if right else f"the cause is given as {cause['task']}: {cause['error']}"
    return _wrong_restart(scenario, restarts_told(output))


def restarts_told(output: str) -> Sequence[str]:
    """Return the lines that tell of restarts."""
    return [line for line in output.splitlines() if "; attempt " in line]


def _wrong_restart(scenario: Scenario, said: Sequence[str]) -> str:
    """Return what is wrong with the lines in which a run that is done has told of its restarts."""
    if raw := [line for line in said if OF_PEERS.search(line)]:
        return f"the restart is explained by {raw[0]!r}"
    in_training = scenario.moment in ("middle", "checkpoint") and scenario.target != "evaluator:0"
    if scenario.fault in KILLS and in_training and not said:
        return "no restart is told of"
    if too_many := said[1 if scenario.fault in KILLS else 0 :] if scenario.fault in SLOW else []:
        return f"what is slow is taken for a hang: {too_many[0]!r}"
    if said and scenario.fault != "slow" and scenario.target not in said[0]:
        return f"the restart is explained by {said[0]!r}"
    return ""


def wrong_extent(scenario: Scenario, files: Path) -> str:
    """Return whether what is to be big or slow was not, or was too much of it."""
    match scenario.fault:
        case "big checkpoint":
            return _wrong_disk(files)
        case "slow step":
            # In async mode fewer steps are scheduled at once, the slower they are.
            return _too_quick(files, STALL if scenario.mode == "sync" else SLOW_STEP)
        case "slow skip":
            return _too_quick(files, LEAST * SLOW_BATCH)
    return ""


def _wrong_disk(files: Path) -> str:
    """Return what is wrong with the space that a run takes that writes big checkpoints."""
    found = list((files / "checkpoints").iterdir())
    taken = sum(file.stat().st_size for directory in found for file in directory.rglob("*"))
    is_right = len(found) <= KEPT and BIG < taken < 1.1 * KEPT * BIG
    return "" if is_right else f"{len(found)} checkpoints take {taken:,} bytes"


def _too_quick(files: Path, seconds: float) -> str:
    """Return what is wrong if training never goes on for so long without a report of the leader: nothing was slow."""
    formed = [event["elapsed"] for event in records(files / "events.jsonl") if event["state"] == "training"]
    times = sorted(formed + [line["time"] for line in _reports(files)])
    longest = max((after - before for before, after in pairwise(times)), default=0.0)
    return "" if longest >= seconds else f"nothing was slow: reports are {longest:.1f} s apart at most"


def left_behind(place: Path, ports: list[int]) -> str:
    """Return which processes and ports of a run are still there; another run beside it may have the same ports."""
    _, alive = psutil.wait_procs(all_within(place), timeout=5)
    if alive:
        return f"processes {[process.pid for process in alive]} are left"
    found = [(one.laddr, one.pid) for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    taken = {at.port for at, pid in found if at and at.port in ports and not _is_beside(pid, place)}
    return f"ports {sorted(taken)} are left" if taken else ""


def temporary_files(place: Path, code: int) -> str:
    """Return which temporary files are left by a launcher that was not killed."""
    left = sorted(path.name for path in (place / TEMPORARY).iterdir()) if code >= 0 else []
    return f"temporary files {left} are left" if left else ""


def _is_beside(pid: int | None, place: Path) -> bool:
    """Whether the process is one of another run."""
    return pid is not None and psutil.pid_exists(pid) and is_within(psutil.Process(pid), place.parent)
