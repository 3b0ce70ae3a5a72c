"""Launches of real processes that start again, that share a directory, and that say when they are ready."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from launcher.engines.local.ports import ports_of
from launcher.engines.local.process import Processes
from launcher.errors import LauncherError, UsageError
from launcher.host.ports import free_ports
from launcher.rundir import RunFiles
from launcher.supervise.restarts import RestartBudget
from tests.unit.engines.local.conftest import MakeLaunch, result, spawner_of_this_process

DONE = ("ready", "result", "exit=0")
FAILED = ("ready", "exit=3")
SPAWNER_KILLED = {
    "task": "worker:0",
    "error": "the spawner, the process that owns this launcher's tasks, was killed",
}


def events(files: RunFiles) -> list[tuple[int, str | None, str]]:
    """Every change of state, with the attempt that it is of."""
    lines = [json.loads(line) for line in files.events.read_text().splitlines()]
    return [(line["attempt"], line["task"], line["state"]) for line in lines]


@pytest.fixture
def ready_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where launches show that they train; a word await=PATH makes a task wait for it."""
    path = tmp_path / "ready"
    monkeypatch.setenv("LAUNCHER_READY_FILE", str(path))
    return path


def killed_once(tmp_path: Path, ready_file: Path) -> tuple[str, ...]:
    """Two workers; the second is killed after the first step, and the next attempt comes to its end."""
    stepped, back, over = tmp_path / "stepped", tmp_path / "back", tmp_path / "over"
    return (
        "ready",
        f"worker:0/await={ready_file}",
        "worker:0/step=1",
        f"worker:0/touch={stepped}",
        "worker:0/first/sleep=600",
        f"worker:1/first/await={stepped}",
        "worker:1/first/say=dying",
        "worker:1/first/kill=SIGKILL",
        f"worker:1/await={ready_file}",
        "say=back",
        f"worker:1/touch={back}",
        # The ready file goes with the leader, which therefore waits for who waits for that file.
        f"worker:0/await={back}",
        "worker:0/result",
        f"worker:0/touch={over}",
        f"await={over}",
        "exit=0",
    )


# Starting again


def test_a_killed_worker_restarts_the_cluster_and_the_run_is_done(
    make_launch: MakeLaunch, tmp_path: Path, ready_file: Path
) -> None:
    launch, files, screen = make_launch(*killed_once(tmp_path, ready_file), workers=2)
    assert launch.run().exit_code == 0
    assert (result(files)["status"], result(files)["attempts"], result(files)["cause"]) == ("done", 2, None)
    assert screen.notes[1] == "no checkpoint was complete: the run begins again, without its 1 step"
    assert screen.notes[0].startswith("worker:1: killed by SIGKILL; attempt 2 starts now")
    assert sorted(screen.lines) == [("worker:0", "back"), ("worker:1", "back"), ("worker:1", "dying")]


def test_each_attempt_has_its_own_logs_and_its_number_in_the_events(
    make_launch: MakeLaunch, tmp_path: Path, ready_file: Path
) -> None:
    launch, files, _ = make_launch(*killed_once(tmp_path, ready_file), workers=2)
    launch.run()
    assert [files.log(number, "worker-1").read_text() for number in (1, 2)] == ["dying\n", "back\n"]
    assert [(attempt, state) for attempt, task, state in events(files) if task is None] == [
        (1, "training"),
        (1, "stopping"),
        (1, "restarting"),
        (2, "forming"),
        (2, "training"),
        (2, "recovered"),
        (2, "leaving"),
        (2, "over"),
    ]
    assert [(attempt, state) for attempt, task, state in events(files) if task == "worker:1"] == [
        (1, "started"),
        (1, "ready"),
        (1, "failed"),
        (2, "started"),
        (2, "ready"),
        (2, "done"),
    ]


def test_a_killed_asynchronous_worker_comes_back_while_the_others_stay(
    make_launch: MakeLaunch, tmp_path: Path, ready_file: Path
) -> None:
    stepped, back, over = tmp_path / "stepped", tmp_path / "back", tmp_path / "over"
    launch, files, screen = make_launch(
        "ready",
        f"chief:0/await={ready_file}",
        "chief:0/step=1",
        f"chief:0/touch={stepped}",
        f"worker:0/first/await={stepped}",
        "worker:0/first/kill=SIGKILL",
        f"worker:0/again/touch={back}",
        f"chief:0/await={back}",
        "chief:0/result",
        f"chief:0/touch={over}",
        f"await={over}",
        "exit=0",
        cluster={job: {"tasks": 1} for job in ("chief", "worker", "ps")},
    )
    assert launch.run().exit_code == 0
    started = [(attempt, task) for attempt, task, state in events(files) if state == "started"]
    assert sorted(started) == [(1, "chief:0"), (1, "ps:0"), (1, "worker:0"), (2, "worker:0")]
    assert "restarting" not in [state for _, _, state in events(files)]
    assert result(files)["attempts"] == 2
    assert len(screen.notes) == 1


def test_a_signal_while_the_cluster_waits_stops_the_run(
    make_launch: MakeLaunch, tmp_path: Path, ready_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RestartBudget, "pause", lambda _: 600.0)
    launch, files, screen = make_launch(*killed_once(tmp_path, ready_file), workers=2)
    screen.on_note = lambda _: os.kill(os.getpid(), signal.SIGTERM)
    assert launch.run().exit_code == 143
    assert (result(files)["status"], result(files)["attempts"]) == ("stopped", 1)
    assert [state for _, task, state in events(files) if task is None][-3:] == ["restarting", "stopping", "over"]


def test_a_used_up_budget_ends_the_run_with_the_cause_of_the_last_attempt(
    make_launch: MakeLaunch, ready_file: Path
) -> None:
    words = ("ready", f"await={ready_file}", "step=1", "kill=SIGKILL")
    launch, files, screen = make_launch(*words, restarts=2)
    assert launch.run().exit_code == 1
    assert result(files)["cause"] == {
        "task": "worker:0",
        "error": "killed by SIGKILL; restarts exhausted (run.restarts: 2)",
        "file": "logs/attempt-3/worker-0.log",
    }
    announced = [note.partition("(")[2] for note in screen.notes if "attempt" in note]
    assert announced == ["restart 1 of 2)", "restart 2 of 2)"]


def test_the_error_of_the_last_attempt_is_the_cause(make_launch: MakeLaunch, ready_file: Path) -> None:
    words = ("ready", f"await={ready_file}", "step=1", "first/kill=SIGKILL", "error=no", "exit=1")
    launch, files, screen = make_launch(*words)
    assert launch.run().exit_code == 1
    assert result(files)["cause"] == {
        "task": "worker:0",
        "error": "ValueError: no",
        "file": "errors/attempt-2/worker-0.json",
    }
    assert len([note for note in screen.notes if "attempt" in note]) == 1


def test_a_task_that_agreed_to_stop_stops_the_run(make_launch: MakeLaunch) -> None:
    launch, files, _ = make_launch("ready", "exit=143")
    assert launch.run().exit_code == 143
    assert (result(files)["status"], result(files)["cause"]) == ("stopped", None)


# The ready file


def test_the_ready_file_is_there_while_the_tasks_have_formed(make_launch: MakeLaunch, ready_file: Path) -> None:
    ready_file.touch()  # of a launcher that was killed
    launch, _, screen = make_launch("say=before", "ready", f"await={ready_file}", "say=formed", "result", "exit=0")
    seen: list[tuple[str, bool]] = []
    screen.on_line = lambda line: seen.append((line, ready_file.exists()))
    launch.run()
    assert seen == [("before", False), ("formed", True)]
    assert not ready_file.exists()


def test_the_ready_file_goes_while_a_cluster_waits_to_start_again(
    make_launch: MakeLaunch, tmp_path: Path, ready_file: Path
) -> None:
    launch, _, screen = make_launch(*killed_once(tmp_path, ready_file), workers=2)
    seen: list[tuple[str, bool]] = []
    screen.on_line = lambda line: seen.append((line, ready_file.exists()))
    screen.on_note = lambda note: seen.append(("restarts", ready_file.exists())) if "attempt" in note else None
    launch.run()
    # The next attempt speaks only when the file is there again.
    assert seen == [("dying", True), ("restarts", False), ("back", True), ("back", True)]


def test_the_ready_file_of_a_run_that_failed_goes(make_launch: MakeLaunch, ready_file: Path) -> None:
    launch, _, _ = make_launch("ready", f"await={ready_file}", "exit=3")
    assert launch.run().exit_code == 1
    assert not ready_file.exists()


def test_a_ready_file_that_cannot_be_written_refuses_the_launch(
    make_launch: MakeLaunch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHER_READY_FILE", str(tmp_path))  # a directory
    with pytest.raises(UsageError, match="LAUNCHER_READY_FILE: cannot write"):
        make_launch(*DONE)


def test_the_death_of_the_spawner_after_the_first_step_is_told_as_what_it_is(
    make_launch: MakeLaunch,
) -> None:
    launch, files, screen = make_launch("ready", "step=1", "say=go", "sleep=600")
    screen.on_line = lambda _: spawner_of_this_process().kill()
    assert launch.run().exit_code == 1
    assert result(files)["cause"] == SPAWNER_KILLED | {"file": "logs/attempt-1/worker-0.log"}


def test_the_death_of_the_spawner_while_the_cluster_waits_ends_the_run(
    make_launch: MakeLaunch, ready_file: Path
) -> None:
    launch, files, screen = make_launch("ready", f"await={ready_file}", "step=1", "kill=SIGKILL")
    screen.on_note = lambda _: spawner_of_this_process().kill()
    assert launch.run().exit_code == 1
    assert result(files)["cause"] == SPAWNER_KILLED | {"file": "logs/attempt-2/worker-0.log"}


def test_a_task_that_cannot_be_started_fails_with_the_reason(make_launch: MakeLaunch, tmp_path: Path) -> None:
    launch, files, _ = make_launch("ready", "exit=0")
    launch._command = (str(tmp_path / "no-such-python"),)
    assert launch.run().exit_code == 1
    assert result(files)["cause"]["error"] == "its process could not be started: No such file or directory"


def test_ports_that_the_file_fixes_stay_held_when_the_others_are_chosen_anew(
    make_launch: MakeLaunch, tmp_path: Path
) -> None:
    fixed = free_ports(1)[0]
    cluster = {"worker": {"tasks": 1, "port": fixed}, "ps": {"tasks": 1}}
    stepped, over = tmp_path / "stepped", tmp_path / "over"
    words = ["ready", "chief:0/step=1", f"chief:0/touch={stepped}", f"await={stepped}", "ps:0/first/kill=SIGKILL"]
    words += ["first/sleep=600", "chief:0/result", f"chief:0/touch={over}", f"await={over}", "exit=0"]
    launch, files, _ = make_launch(*words, cluster=cluster)
    before = launch.addresses.plan.cluster["ps"]
    launch.addresses.held.hold(ports_of(launch.addresses.plan, launch.addresses.tasks.values()))
    outcome = launch.run()
    assert outcome.result.attempts == 2
    assert launch.addresses.plan.cluster["worker"] == (f"127.0.0.1:{fixed}",)
    assert launch.addresses.plan.cluster["ps"] != before
    assert result(files)["status"] == "done"


def test_the_lines_of_a_new_attempt_are_not_swallowed_by_a_dump_that_a_death_cut_off(make_launch: MakeLaunch) -> None:
    dump = "first/say=I0000 00:00:17.1   2 eager_service_impl.cc:355] SessionOptions: x"
    launch, _, screen = make_launch("ready", "step=1", dump, "first/kill=SIGKILL", "say=back", "result", "exit=0")
    assert launch.run().exit_code == 0
    assert screen.lines == [("worker:0", "back")]


def test_the_ready_file_goes_also_where_the_run_directory_cannot_be_written(
    make_launch: MakeLaunch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = tmp_path / "ready"
    monkeypatch.setenv("LAUNCHER_READY_FILE", str(ready))
    launch, files, screen = make_launch("ready", f"await={ready}", "say=formed", "step=1", "result", "exit=0")

    def break_directory(_: str) -> None:
        files.events.unlink()
        files.events.mkdir()

    screen.on_line = break_directory
    with pytest.raises(LauncherError):
        launch.run()
    assert not ready.exists()


def test_a_ready_file_without_a_directory_is_refused_before_anything_starts(
    make_launch: MakeLaunch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAUNCHER_READY_FILE", str(tmp_path / "gone" / "ready"))
    with pytest.raises(LauncherError):
        make_launch("ready", "result", "exit=0")


def test_the_late_end_of_a_process_that_was_given_up_is_not_that_of_its_successor(
    make_launch: MakeLaunch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("launcher.supervise.shutdown.STOP_GRACE", 0.1)
    monkeypatch.setattr("launcher.supervise.shutdown.KILL_GRACE", 0.1)
    kill, number = Processes.kill, signal.SIGKILL
    monkeypatch.setattr(Processes, "kill", lambda self, task, asked: asked == number or kill(self, task, asked))
    deaf, go, left = (str(tmp_path / name) for name in ("deaf", "go", "left"))
    words = (
        *("ready", "step=1"),
        *(f"first/worker:0/{word}" for word in ("ignore", f"touch={deaf}", f"await={go}", f"touch={left}", "exit=7")),
        *(f"first/worker:1/{word}" for word in (f"await={deaf}", "kill=SIGKILL")),
        *(f"again/worker:0/{word}" for word in (f"touch={go}", f"await={left}")),
        *("result", "exit=0"),
    )
    launch, _, screen = make_launch(*words, workers=2)
    outcome = launch.run()
    assert (outcome.exit_code, outcome.result.attempts) == (0, 2), screen.notes
    assert any(note.endswith("it is left behind") for note in screen.notes)
