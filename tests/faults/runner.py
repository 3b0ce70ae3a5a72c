"""Runs scenarios on real clusters, and says of each whether what must come of it came."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.faults.expect import (
    KILLED,
    STOPPED,
    TERMINATED,
    Truth,
    codes,
    history,
    left_behind,
    wrong_cause,
    wrong_result,
)
from tests.faults.faults import corrupt, free, strike
from tests.faults.scenario import LAUNCHER, Scenario
from tests.faults.watched import TooLate, Watched
from tests.support.jobs import ARGS, RUN, STEPS, SYNC
from tests.support.processes import survivors
from tests.support.workplace import Ran, Workplace

LIMIT = 180.0  # seconds that a start of the launcher may take, whatever happens to it
GONE_AFTER = 5.0  # seconds that are waited for the tasks of a launcher that was killed
DISK = "24m"  # of the small disk; a run takes a tenth of it


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


def truth() -> Truth:
    """Run the cluster undisturbed and return what it ends with."""
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        return truth_of(Workplace(Path(directory)).run(**SYNC))


def truth_of(undisturbed: Ran) -> Truth:
    """Return what this run of the same cluster ends with."""
    return Truth(undisturbed.metrics, history(undisturbed.files))


def judge(scenario: Scenario, expected: Truth) -> Verdict:
    """Run one scenario and return what came of it."""
    with _workplace(small_disk=scenario.fault == "disk full") as place:
        place.write(**_content(scenario.mode, scenario.target, scenario.network))
        began, run = time.monotonic(), Watched(place)
        struck = _hit(run, scenario)
        killed = struck and (scenario.target, scenario.fault) == (LAUNCHER, "kill")
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
    if problem := wrong_cause(scenario, ran.code, files, ran.output) or left_behind(ran.directory, ports):
        return problem, ran.output
    if ran.code == 0:
        return wrong_result(scenario, files, expected), ran.output
    ends_so = ran.code not in (KILLED, STOPPED, TERMINATED) and scenario.fault != "disk full"
    if ends_so or not (files / "plan.json").exists():  # or it was hit before there was anything to go on with
        return "", ran.output
    problem, output = _resumed(scenario, run, ran)
    return problem or wrong_result(scenario, files, expected) or left_behind(ran.directory, ports), ran.output + output


def _resumed(scenario: Scenario, run: Watched, ran: Ran) -> tuple[str, str]:
    """Go on with a run that was stopped; return what is wrong with that, and what was printed."""
    damaged = ""
    if scenario.fault == "disk full":
        free(ran.files.parent)
    elif scenario.fault == "corrupt checkpoint":
        damaged = corrupt(run, scenario.number)
    saved = json.loads((ran.files / "result.json").read_text())["steps"] if ran.code == STOPPED else 0
    again = Watched(run.place, "--resume", "latest").end(LIMIT)
    if again.code:
        return f"exit code {again.code} when resumed", again.output
    if damaged and f"the checkpoint {damaged} is damaged" not in again.output:
        return f"the damaged checkpoint {damaged} is not named", again.output
    lossless = scenario.fault in {"term", "closed stdout"}
    if lossless and 0 < saved < STEPS and f"resumed at step {saved} of" not in again.output:
        return f"stopped at step {saved}, and resumed elsewhere", again.output
    return "", again.output


@contextmanager
def _workplace(*, small_disk: bool) -> Iterator[Workplace]:
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as directory:
        runs = Path(directory, "runs")
        runs.mkdir()
        if small_disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "faults", str(runs)], check=True)
        try:
            yield Workplace(Path(directory))
        finally:
            if small_disk:
                subprocess.run(["umount", "--lazy", str(runs)], check=True)


def _content(mode: str, target: str, network: str) -> dict[str, Any]:
    cluster = {"worker": 2} if mode == "sync" or target.startswith("worker") else {"worker": 1}
    cluster |= {"ps": 1} if mode == "async" else {}
    cluster |= {"evaluator": 1} if target == "evaluator:0" else {}
    run = RUN | {"start_timeout": "40s", "stall_timeout": "20s", "network": network}
    return {"mode": mode, "args": ARGS, "cluster": cluster, "run": run}


def _ports(files: Path) -> list[int]:
    plan = json.loads((files / "plan.json").read_text()) if (files / "plan.json").exists() else {"tasks": []}
    return [int(task["address"].rpartition(":")[2]) for task in plan["tasks"] if task.get("address")]


def _attempts(files: Path) -> int:
    return len(list((files / "logs").glob("attempt-*")))
