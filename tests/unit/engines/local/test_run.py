"""A launch of real processes: what the tasks do, and what the run makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.errors import LauncherError
from tests.support.processes import all_gone
from tests.unit.engines.local.conftest import MakeLaunch, nobody_reads, spawner_of_this_process

DONE = ("ready", "result", "exit=0")


def gone(pid: int) -> bool:
    """Whether there is no such process, or only its entry in the table."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_run_is_done_when_its_task_is(make_launch: MakeLaunch) -> None:
    launch, files, screen = make_launch("say=hello", *DONE)
    outcome = launch.run()
    assert outcome.exit_code == 0
    assert screen.lines == [("worker:0", "hello")]
    assert files.log(1, "worker-0").read_text() == "hello\n"
    result = json.loads(files.result.read_text())
    assert (result["status"], result["steps"], result["metrics"], result["cause"]) == ("done", 1, {"x": 1.0}, None)
    assert result["time_to_first_step_s"] is not None


def test_the_events_tell_every_change_of_state_in_order(make_launch: MakeLaunch) -> None:
    launch, files, _ = make_launch(*DONE)
    launch.run()
    events = [json.loads(line) for line in files.events.read_text().splitlines()]
    assert [(event["task"], event["state"]) for event in events] == [
        ("worker:0", "started"),
        ("worker:0", "ready"),
        (None, "training"),
        ("worker:0", "done"),
        (None, "leaving"),
        (None, "over"),
    ]


def test_what_a_task_has_proved_to_have_is_in_the_events_and_other_events_have_no_details(
    make_launch: MakeLaunch,
) -> None:
    found = {"cores": [2, 3], "gpus": {"0": "T4"}}
    launch, files, screen = make_launch(f"stray={json.dumps({'event': 'started', **found})}", *DONE)
    launch.run()
    events = [json.loads(line) for line in files.events.read_text().splitlines()]
    (placed,) = [event for event in events if "details" in event]
    assert {**placed, "time": 0, "elapsed": 0} == {
        "time": 0, "elapsed": 0, "attempt": 1, "task": "worker:0", "state": "placed", "cause": "", "details": found,
    }  # fmt: skip
    assert screen.lines == []


def test_a_task_that_exits_3_fails_the_run_with_its_last_lines_in_the_log(make_launch: MakeLaunch) -> None:
    launch, files, _ = make_launch("worker:1/say=oh no", "worker:1/exit=3", "sleep=600", workers=2)
    outcome = launch.run()
    assert outcome.exit_code == 1
    assert outcome.result.cause == {
        "task": "worker:1",
        "error": "exited with code 3",
        "file": "logs/attempt-1/worker-1.log",
    }
    assert files.log(1, "worker-1").read_text() == "oh no\n"


def test_a_task_that_dies_before_its_first_line_is_the_cause(make_launch: MakeLaunch) -> None:
    launch, _, screen = make_launch("kill=SIGKILL")
    outcome = launch.run()
    assert outcome.result.cause is not None
    assert outcome.result.cause["error"] == "killed by SIGKILL"
    assert screen.lines == []


def test_a_task_that_ignores_sigterm_is_killed_after_the_grace(make_launch: MakeLaunch, tmp_path: Path) -> None:
    deaf = f"{tmp_path / 'deaf'}"
    words = ("worker:0/ignore", f"worker:0/touch={deaf}", f"await={deaf}", "worker:1/exit=1", "sleep=600")
    launch, files, _ = make_launch(*words, workers=2)
    launch.run()
    events = [json.loads(line) for line in files.events.read_text().splitlines()]
    assert ("worker:0", "killed by SIGKILL") in [(event["task"], event["cause"]) for event in events]


@pytest.mark.parametrize("end", [("exit=1",), DONE], ids=["failure", "success"])
def test_a_grandchild_that_left_the_group_does_not_survive_the_run(
    make_launch: MakeLaunch, tmp_path: Path, end: tuple[str, ...]
) -> None:
    launch, _, _ = make_launch(f"grandchild={tmp_path / 'pid'}", *end)
    launch.run()
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_flood_of_output_arrives_complete_and_once(make_launch: MakeLaunch) -> None:
    launch, files, screen = make_launch("flood=200000", *DONE)
    assert launch.run().exit_code == 0
    assert screen.of("worker:0") == [f"line {number}" for number in range(200_000)]
    assert files.log(1, "worker-0").read_text().count("\n") == 200_000


def test_invalid_utf8_is_shown_with_replacements_and_kept_as_it_was(make_launch: MakeLaunch) -> None:
    launch, files, screen = make_launch("bytes=61ff620a", *DONE)
    launch.run()
    assert screen.lines == [("worker:0", "a\ufffdb")]
    assert files.log(1, "worker-0").read_bytes() == b"a\xffb\n"


def test_a_job_that_closes_every_descriptor_and_reuses_the_numbers_neither_breaks_its_run_nor_forges_reports(
    make_launch: MakeLaunch, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    launch, files, screen = make_launch(f"daemon={own}", *DONE)
    assert launch.run().exit_code == 0
    assert json.loads(files.result.read_text())["metrics"] == {"x": 1.0}
    assert screen.lines == []
    assert {json.loads(line)["steps"] for line in own.read_text().splitlines()} == {7}


@pytest.mark.parametrize("figures", [1, 8_000, 20_000, 300_000])
def test_no_length_of_its_figures_loses_a_result(make_launch: MakeLaunch, figures: int) -> None:
    launch, files, _ = make_launch("ready", "step=1", f"long={figures}", "exit=0")
    assert launch.run().exit_code == 0
    assert json.loads(files.result.read_text())["metrics"] == {"x": [0.5] * figures}


@pytest.mark.parametrize("text", ["oops", "3", '{"x": 1}', "[]"])
def test_what_a_job_writes_into_the_report_pipe_is_shown_and_harmless(make_launch: MakeLaunch, text: str) -> None:
    launch, _, screen = make_launch(f"stray={text}", *DONE)
    assert launch.run().exit_code == 0
    assert screen.lines == [("worker:0", text)]


def test_a_run_that_another_launcher_resumes_counts_the_time_of_both_and_says_which_part_was_before(
    make_launch: MakeLaunch,
) -> None:
    launch, files, _ = make_launch("ready", "step=1", "exit=3")
    launch.run()
    first = json.loads(files.result.read_text())
    launch, _, _ = make_launch(*DONE, files=files)
    launch.run()
    second = json.loads(files.result.read_text())
    (resumed, elapsed) = second["resumed"], [json.loads(line)["elapsed"] for line in files.events.open()]
    assert (first["resumed"], resumed["steps"]) == (None, 0)
    assert first["wall_s"] <= resumed["wall_s"] < second["wall_s"]
    assert elapsed == sorted(elapsed)


def test_a_last_line_without_its_end_is_shown(make_launch: MakeLaunch) -> None:
    launch, _, screen = make_launch("bytes=656e64", *DONE)
    launch.run()
    assert screen.lines == [("worker:0", "end")]


def test_a_task_that_closes_its_output_runs_on(make_launch: MakeLaunch) -> None:
    launch, _, screen = make_launch("say=before", "close", *DONE)
    assert launch.run().exit_code == 0
    assert screen.lines == [("worker:0", "before")]


def test_a_task_inherits_its_three_streams_and_nothing_else(make_launch: MakeLaunch) -> None:
    launch, _, screen = make_launch("fd", *DONE)
    launch.run()
    # The last number is that of the listing itself.
    assert screen.lines == [("worker:0", "inherited [0, 1, 2, 3]")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_stops_the_run_with_its_exit_code(make_launch: MakeLaunch, number: int, code: int) -> None:
    launch, files, screen = make_launch("ready", "say=go", "sleep=600")
    screen.on_line = lambda _: os.kill(os.getpid(), number)
    outcome = launch.run()
    assert outcome.exit_code == code
    assert json.loads(files.result.read_text())["status"] == "stopped"


def test_a_screen_that_nobody_watches_any_more_stops_the_run(make_launch: MakeLaunch) -> None:
    launch, _, screen = make_launch("ready", "say=go", "sleep=600")
    screen.on_line = nobody_reads
    assert launch.run().exit_code == 143


def test_the_death_of_the_spawner_ends_the_run_and_every_task(make_launch: MakeLaunch) -> None:
    launch, _, screen = make_launch("ready", "say=go", "sleep=600")
    tasks: list[psutil.Process] = []

    def kill_spawner(_: str) -> None:
        spawner = spawner_of_this_process()
        tasks.extend(spawner.children())
        spawner.kill()

    screen.on_line = kill_spawner
    outcome = launch.run()
    assert outcome.exit_code == 1
    assert len(tasks) == 1
    assert all_gone(tasks)


def test_a_spawner_that_ends_at_once_is_a_sentence(make_launch: MakeLaunch, monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen

    def ends(_: object, **settings: Any) -> subprocess.Popen[bytes]:
        return popen([sys.executable, "-c", ""], **settings)

    monkeypatch.setattr(subprocess, "Popen", ends)
    launch, _, _ = make_launch(*DONE)
    with pytest.raises(LauncherError, match=r"owns this launcher's tasks, ended before any task was started$"):
        launch.run()


def hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every spawner hang from its start."""
    popen = subprocess.Popen

    def hangs(_: object, **settings: Any) -> subprocess.Popen[bytes]:
        return popen([sys.executable, "-c", "import time; time.sleep(600)"], **settings)

    monkeypatch.setattr(subprocess, "Popen", hangs)


def test_a_signal_while_the_spawner_is_waited_for_stops_the_run_before_anything_starts(
    make_launch: MakeLaunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging(monkeypatch)
    launch, files, screen = make_launch("sleep=600", grace="1s")
    screen.on_note = lambda _: os.kill(os.getpid(), signal.SIGTERM)
    assert launch.run("headline").exit_code == 143
    assert json.loads(files.result.read_text())["status"] == "stopped"
    assert not files.log(1, "worker-0").exists()


@pytest.mark.parametrize(("grace", "seconds"), [("20s", 17.0), ("3s", 1.5), ("10m", 597.0)])
def test_a_task_knows_how_long_it_has_from_a_term_until_it_is_killed(
    make_launch: MakeLaunch, grace: str, seconds: float
) -> None:
    launch, _, screen = make_launch("knows=save_within", *DONE, grace=grace)
    launch.run()
    assert screen.of("worker:0") == [f"save_within {seconds}"]


def test_a_task_gets_args_that_are_longer_than_the_kernel_lets_a_variable_be(make_launch: MakeLaunch) -> None:
    launch, _, screen = make_launch("args", *DONE, args={"words": ["word"] * 50_000})
    launch.run()
    assert screen.of("worker:0") == ["50000"]
