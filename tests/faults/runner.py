"""Runs scenarios on real clusters, and says of each whether what must come of it came."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.faults.cluster import workplace
from tests.faults.expect import (
    STOPPED,
    Truth,
    codes,
    history,
    left_behind,
    restarts_told,
    temporary_files,
    wrong_cause,
    wrong_extent,
    wrong_result,
)
from tests.faults.faults import corrupt, free, hurry, strike
from tests.faults.scenario import LAUNCHER, Scenario
from tests.faults.watched import TooLate, Watched
from tests.support.jobs import STEPS, SYNC
from tests.support.processes import survivors
from tests.support.workplace import Ran, Workplace

LIMIT = 180.0  # seconds that a start of the launcher may take, whatever happens to it
GONE_AFTER = 5.0  # seconds that are waited for the tasks of a launcher that was killed
LOSSLESS = {"term", "closed stdout", "hang-up twice", "spawner stopped", "slow skip"}


@dataclass(frozen=True)
class Verdict:
    """What came of a scenario; ``problem`` is empty where all is as it must be."""

    scenario: Scenario
    code: int | None
    attempts: int
    seconds: float  # until the launcher had ended
    struck: bool  # whether there still was something to do it to
    problem: str
    output: str = ""
    outlived: float | None = None  # seconds that tasks lived on after their launcher was killed

    @property
    def passed(self) -> bool:
        """Whether it is."""
        return not self.problem


def truth(start_method: str = "auto") -> Truth:
    """Run the cluster undisturbed and return what it ends with."""
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        run = {**SYNC["run"], "start_method": start_method}
        return truth_of(Workplace(Path(directory)).run(**{**SYNC, "run": run}))


def truth_of(undisturbed: Ran) -> Truth:
    """Return what this run of the same cluster ends with."""
    return Truth(undisturbed.metrics, history(undisturbed.files))


def judge(scenario: Scenario, expected: Truth, start_method: str = "auto") -> Verdict:
    """Run one scenario and return what came of it."""
    with workplace(scenario, start_method) as place:
        began, run = time.monotonic(), Watched(place)
        struck = _hit(run, scenario)
        killed = struck and scenario.target == LAUNCHER and scenario.fault in ("kill", "big checkpoint")
        outlived = _seconds_until_gone(place) if killed else None
        try:
            ran = run.end(LIMIT)
        except subprocess.TimeoutExpired:
            return Verdict(
                scenario, None, 0, LIMIT, struck, f"the launcher had not ended after {LIMIT:g} s", run.output
            )
        seconds = time.monotonic() - began
        problem, output = _problem(scenario, ran, run, expected)
        if not struck and scenario.moment != "end":  # a run's last moments may be over while they are waited for
            problem = problem or "the fault never struck"
        return Verdict(scenario, ran.code, _attempts(ran.files), seconds, struck, problem, output, outlived)


def _hit(run: Watched, scenario: Scenario) -> bool:
    """Wait for the moment and do it; whether there still was something to do it to."""
    try:
        run.await_moment(scenario.moment, scenario.target)
        time.sleep(scenario.delay)
        strike(run, scenario)
    except TooLate:
        return False
    return True


def _seconds_until_gone(place: Workplace) -> float:
    began = time.monotonic()
    psutil.wait_procs(survivors(place.directory), timeout=GONE_AFTER)
    return time.monotonic() - began


def _problem(scenario: Scenario, ran: Ran, run: Watched, expected: Truth) -> tuple[str, str]:
    """Return what is wrong, if anything is, and all that was printed."""
    files, ports = ran.files, _ports(ran.files)
    if ran.code not in codes(scenario):
        return f"exit code {ran.code}", ran.output
    # A process that was killed takes a moment to go, and its launcher can no longer see to it.
    problem = wrong_cause(scenario, ran.code, files, ran.output) or left_behind(ran.directory, ports)
    if problem or (problem := temporary_files(ran.directory, ran.code)):
        return problem, ran.output
    output = ran.output
    if ran.code in (1, 3) and scenario.fault != "disk full":
        return "", output
    if ran.code:
        if not (files / "plan.json").exists():  # it was hit before there was anything to go on with
            return "", output
        problem, more = _resumed(scenario, run, ran)
        output += more
        if problem or (problem := left_behind(ran.directory, ports)):
            return problem, output
    return wrong_result(scenario, files, expected) or wrong_extent(scenario, files), output


def _resumed(scenario: Scenario, run: Watched, ran: Ran) -> tuple[str, str]:
    """Go on with a run that was stopped; return what is wrong with that, and what was printed."""
    damaged = ""
    if scenario.fault == "disk full":
        free(ran.files.parent)
    elif scenario.fault == "corrupt checkpoint":
        damaged = corrupt(run, scenario.number)
    saved = json.loads((ran.files / "result.json").read_text())["steps"] if ran.code == STOPPED else 0
    again = Watched(run.place, "--resume", "latest")
    if scenario.fault == "slow skip":
        hurry(again)
    ran = again.end(LIMIT)
    if ran.code:
        return f"exit code {ran.code} when resumed", ran.output
    if damaged and f"the checkpoint {damaged} is damaged" not in ran.output:
        return f"the damaged checkpoint {damaged} is not named", ran.output
    if told := restarts_told(ran.output):
        return f"nothing happened to it when it was resumed, and yet: {told[0]!r}", ran.output
    if scenario.fault in LOSSLESS and 0 < saved < STEPS and f"resumed at step {saved} of" not in ran.output:
        return f"stopped at step {saved}, and resumed elsewhere", ran.output
    return "", ran.output


def _ports(files: Path) -> list[int]:
    plan = json.loads((files / "plan.json").read_text()) if (files / "plan.json").exists() else {"tasks": []}
    return [int(task["address"].rpartition(":")[2]) for task in plan["tasks"] if task.get("address")]


def _attempts(files: Path) -> int:
    return len(list((files / "logs").glob("attempt-*")))
