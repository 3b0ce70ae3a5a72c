"""What the fault runner takes for right and for wrong, without a cluster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults import __main__ as command
from tests.faults import runner
from tests.faults.cluster import BIG, MEMORY_NAMED, lacking
from tests.faults.expect import KILLED, STOPPED, Truth, codes, wrong_cause, wrong_extent
from tests.faults.runner import Verdict, judge
from tests.faults.scenario import LAUNCHER, SPAWNER, Scenario, combinations
from tests.faults.watched import TooLate
from tests.support.jobs import STEPS
from tests.support.workplace import Ran, Workplace

AGAIN = "worker:1: killed by SIGKILL; attempt 2 starts in 1.0 s (restart 1 of 3)\n"
BY_PEER = "worker:1: UnavailableError: recvmsg; attempt 2 starts in 1.0 s (restart 1 of 3)\n"


def scenario(
    fault: str = "kill", moment: str = "middle", target: str = "worker:1", mode: str = "sync", number: int = 1
) -> Scenario:
    return Scenario(number, mode, target, fault, moment, 0.0, "host")


def failed(files: Path, task: str, error: str) -> None:
    (files / "result.json").write_text(json.dumps({"cause": {"task": task, "error": error}}))


# How a restart is explained


@pytest.mark.parametrize("moment", ["middle", "checkpoint"])
@pytest.mark.parametrize("target", ["worker:0", "worker:1", "chief:0", "ps:0"])
def test_who_is_killed_in_training_and_of_whose_restart_nothing_is_said_fails(
    tmp_path: Path, moment: str, target: str
) -> None:
    assert wrong_cause(scenario(moment=moment, target=target), 0, tmp_path, "done\n") == "no restart is told of"


@pytest.mark.parametrize(
    "harmless",
    [scenario(moment="end"), scenario(moment="rendezvous"), scenario("slow"), scenario(target="evaluator:0")],
    ids=str,
)
def test_where_a_run_may_end_without_a_restart_none_has_to_be_told_of(tmp_path: Path, harmless: Scenario) -> None:
    assert wrong_cause(harmless, 0, tmp_path, "done\n") == ""


def test_a_restart_is_explained_by_who_was_hit_and_not_by_a_peer_s_error(tmp_path: Path) -> None:
    assert wrong_cause(scenario(), 0, tmp_path, AGAIN) == ""
    assert "worker:1: killed" in wrong_cause(scenario(target="worker:0"), 0, tmp_path, AGAIN)
    assert "UnavailableError" in wrong_cause(scenario(), 0, tmp_path, BY_PEER)
    assert "UnavailableError" in wrong_cause(scenario("slow"), 0, tmp_path, BY_PEER)


@pytest.mark.parametrize("moment", ["first step", "middle"])
def test_a_slow_step_that_is_taken_for_a_hang_fails(tmp_path: Path, moment: str) -> None:
    assert wrong_cause(scenario("slow step", moment), 0, tmp_path, "done\n") == ""
    assert "taken for a hang" in wrong_cause(scenario("slow step", moment), 0, tmp_path, AGAIN)


def test_a_task_that_was_killed_and_skips_slowly_restarts_once(tmp_path: Path) -> None:
    assert wrong_cause(scenario("slow skip"), 0, tmp_path, AGAIN) == ""
    assert "taken for a hang" in wrong_cause(scenario("slow skip"), 0, tmp_path, AGAIN + AGAIN)
    assert wrong_cause(scenario("slow skip"), 0, tmp_path, "done\n") == "no restart is told of"


def test_memory_that_ran_out_is_named_with_its_limit(tmp_path: Path) -> None:
    named = AGAIN.replace("killed", f"killed by the kernel because memory ran out ({MEMORY_NAMED})")
    assert wrong_cause(scenario("out of memory"), 0, tmp_path, named) == ""
    assert "memory" in wrong_cause(scenario("out of memory"), 0, tmp_path, AGAIN)


@pytest.mark.parametrize("target", [LAUNCHER, SPAWNER])
def test_a_spawner_that_was_stopped_is_named_unless_the_run_is_at_its_end(tmp_path: Path, target: str) -> None:
    for code in (0, STOPPED):
        named = "the spawner was stopped by a signal (SIGSTOP), and is continued"
        assert wrong_cause(scenario("spawner stopped", target=target), code, tmp_path, named) == ""
        assert wrong_cause(scenario("spawner stopped", target=target), code, tmp_path, "done") != ""
        assert wrong_cause(scenario("spawner stopped", "end", target), code, tmp_path, "done") == ""


# What was big, or slow


def test_where_nothing_was_slow_nothing_has_passed(tmp_path: Path) -> None:
    reports = [{"task": "worker:0", "step": step, "time": time} for step, time in ((85, 15.0), (170, 16.0))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(report) + "\n" for report in reports))
    formed = [{"task": None, "state": state, "elapsed": 5.0} for state in ("forming", "training")]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in formed))
    assert wrong_extent(scenario("slow step"), tmp_path) == ""
    assert wrong_extent(scenario("slow skip"), tmp_path) == "nothing was slow: reports are 10.0 s apart at most"


@pytest.mark.parametrize(("sizes", "is_right"), [([1, 1], True), ([1, 1, 1], False), ([0, 0], False), ([2, 1], False)])
def test_as_many_big_checkpoints_take_space_as_are_kept_and_no_draft(
    tmp_path: Path, sizes: list[int], is_right: bool
) -> None:
    for step, size in enumerate(sizes):
        (tmp_path / "checkpoints" / f"step-{step}").mkdir(parents=True)
        with (tmp_path / "checkpoints" / f"step-{step}" / "variables").open("wb") as file:
            file.truncate(size * (BIG + 1))  # without taking space
    assert (wrong_extent(scenario("big checkpoint"), tmp_path) == "") is is_right


# Which exit codes are right


@pytest.mark.parametrize(
    ("hit", "right"),
    [
        (scenario("hang-up twice", "middle", LAUNCHER), {STOPPED}),
        (scenario("hang-up twice", "start", LAUNCHER), {STOPPED, -1}),
        (scenario("hang-up twice", "end", LAUNCHER), {STOPPED, 0}),
        (scenario("spawner stopped", "start", SPAWNER), {0}),
        (scenario("spawner stopped", "middle", LAUNCHER), {STOPPED}),
        (scenario("out of memory", "middle"), {0}),
        (scenario("out of memory", "first step"), {0, 1}),
        (scenario("slow step", "first step"), {0}),
        (scenario("big checkpoint", "checkpoint", LAUNCHER), {KILLED}),
        (scenario("big checkpoint", "checkpoint", "ps:0", "async"), {0}),
        (scenario("slow skip", "middle", LAUNCHER), {STOPPED}),
        (scenario("slow skip", "middle"), {0}),
    ],
    ids=str,
)
def test_each_of_the_exit_codes_that_are_right_is_known(hit: Scenario, right: set[int]) -> None:
    assert codes(hit) == right


# How a failure is explained


def test_a_failure_is_explained_by_who_was_hit_and_not_by_a_peer_s_error(tmp_path: Path) -> None:
    failed(tmp_path, "worker:1", "killed by SIGKILL")
    assert wrong_cause(scenario(), 1, tmp_path, "worker:1 failed: killed by SIGKILL") == ""
    assert wrong_cause(scenario(), 1, tmp_path, "worker:1 failed") != ""
    assert wrong_cause(scenario(target="worker:0"), 1, tmp_path, "worker:1 failed: killed by SIGKILL") != ""
    for peers in ("UnavailableError", "AbortedError", "CancelledError"):
        failed(tmp_path, "worker:0", error := f"{peers}: /job:worker/task:1 (worker:1) is gone")
        assert peers in wrong_cause(scenario(), 1, tmp_path, f"worker:0 failed: {error}")


# Whether it struck


class Untouched:
    """A run that is over before anything can be done to it."""

    output = ""

    def __init__(self, place: Workplace) -> None:
        self._directory = place.directory

    def await_moment(self, moment: str, target: str) -> None:
        raise TooLate

    def end(self, seconds: float) -> Ran:
        files = self._directory / "runs" / "latest"
        files.mkdir()
        result = {"status": "done", "steps": STEPS, "metrics": {}}
        (files / "result.json").write_text(json.dumps(result))
        (files / "metrics.jsonl").touch()
        return Ran(0, "done\n", self._directory)


@pytest.mark.parametrize(("moment", "problem"), [("first step", "the fault never struck"), ("end", "")])
def test_a_run_that_was_over_before_its_fault_passes_only_where_that_was_to_come_at_the_end(
    monkeypatch: pytest.MonkeyPatch, moment: str, problem: str
) -> None:
    monkeypatch.setattr(runner, "Watched", Untouched)
    verdict = judge(scenario(moment=moment), Truth({}, []))
    assert (verdict.struck, verdict.passed, verdict.problem) == (False, not problem, problem)


# The command


def told(monkeypatch: pytest.MonkeyPatch, *arguments: str, **verdict: Any) -> int | str | None:
    """Return what the command ends with where each scenario has this verdict."""
    monkeypatch.setattr(sys, "argv", ["tests.faults", *arguments])
    monkeypatch.setattr(command, "lacking", str)
    monkeypatch.setattr(command, "truth", lambda _: Truth({}, []))
    answer: dict[str, Any] = {"code": 0, "attempts": 1, "seconds": 5.0, "struck": True, "problem": ""} | verdict
    monkeypatch.setattr(command, "judge", lambda scenario, *_: Verdict(scenario, **answer))
    with pytest.raises(SystemExit) as end:
        command.main()
    return end.value.code


def test_where_nothing_is_run_nothing_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["--only", "9999"], ["--runs", "0"]):
        assert "there is none to run" in str(told(monkeypatch, *arguments))
    assert told(monkeypatch, "--jobs", "0") == 2


def test_only_root_may_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert lacking().endswith("run it as root")


def test_the_table_is_one_for_a_markdown_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = str(len(combinations()))
    assert told(monkeypatch, "--runs", runs, "--jobs", "2", "--start", "spawn", outlived=0.25) == 0
    said = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said if line.startswith("|")]
    titles = ["what happens", "mode", "to whom", "runs", "passed", "exit codes", "seconds, median", "most"]
    assert rows[0] == titles
    assert all(row[0] for row in rows), "a row is broken in two"
    assert rows[4] == ["closed stdout", "async", LAUNCHER, "6", "6", "0", "5", "5"]
    assert rows[-1][:3] == ["term", "sync", "evaluator, launcher, worker"]
    assert said[-2:] == [
        "the tasks of a launcher that was killed lived on for 0.25 s at most",
        f"{runs} of {runs} passed in 0 min, seed 7, start method spawn",
    ]


def test_a_part_of_the_scenarios_is_chosen_by_its_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for only, number in (("42", 1), ("21-40", 20)):
        assert told(monkeypatch, "--only", only) == 0
        assert f"{number} of {number} passed" in capsys.readouterr().out


def test_one_that_fails_fails_all_and_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(monkeypatch, "--runs", "1", struck=False, problem="the fault never struck") == 1
    assert "too late to strike, 5 s: FAILED: the fault never struck" in capsys.readouterr().out
