"""A run in containers, driven through a docker that only pretends."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.contract.task import Task
from launcher.engines.compose import run as module
from launcher.engines.compose.docker import Docker
from launcher.engines.compose.run import ContainersEnded, project_name, refuse_second
from launcher.errors import FormationError, LauncherError, UsageError
from tests.unit.engines.compose.containers import Run
from tests.unit.engines.local.conftest import nobody_reads

FIRST, SECOND = Task("worker", 0), Task("worker", 1)
TWENTY = "\n".join(f"line {number}" for number in range(1, 21))
LAST_12 = "\n".join(f"line {number}" for number in range(9, 21))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch)


def signalled_by(number: int) -> Any:
    """Return what sends this process a signal, whatever is shown."""
    return lambda _: os.kill(os.getpid(), number)


# From the image to the removal


def test_a_run_is_built_started_watched_and_removed(run: Run) -> None:
    run.ends()
    assert run.go() == ContainersEnded(0)
    assert run.steps == ["build", "up", "down"]
    assert run.docker.left() == []
    assert run.screen.notes == []


def test_compose_is_asked_for_this_runs_project_and_file_alone(run: Run) -> None:
    run.ends()
    run.docker.does("compose up", 'cp up/* containers/; echo "$LAUNCHER_RUN" >who')
    run.go()
    place = f"docker compose --project-name {project_name(run.files.directory)} --file {run.files.compose}"
    assert run.docker.asked("compose") == [
        f"{place} up --detach --no-build", f"{place} down --volumes --remove-orphans --timeout=1",
    ]  # fmt: skip
    assert (run.docker.world / "who").read_text() == "night\n"


def test_docker_compose_1_is_asked_the_same(run: Run) -> None:
    run.docker.program("docker-compose")
    run.daemon = Docker(("docker-compose",), rootless=False)
    run.ends()
    assert run.go() == ContainersEnded(0)
    assert run.steps == ["build", "up", "down"]
    assert not run.docker.asked("docker", "compose")


@pytest.mark.parametrize("code", [1, 2, 3])
def test_what_the_leader_ends_with_is_how_the_run_ends(run: Run, code: int) -> None:
    run.ends(first=code, second=code)
    assert run.go() == ContainersEnded(code)
    assert run.docker.left() == []


def test_a_container_that_ends_as_no_launcher_does_is_the_cause(run: Run) -> None:
    run.ends(first=127)
    assert run.go() == ContainersEnded(1, (FIRST, "its container ended with exit code 127"))


def test_a_container_that_was_killed_starts_again_and_says_so(run: Run) -> None:
    run.starts_again()
    assert run.go(restarts=1) == ContainersEnded(0)
    assert run.docker.asked("start") == ["docker container start worker-1"]
    assert run.screen.notes == ["worker:1: its container was killed (exit code 137); restarted (1 of 1)"]


def test_a_container_that_is_killed_more_often_than_allowed_is_the_cause(run: Run) -> None:
    run.stays()
    run.docker.container("worker:1", code=137)
    assert run.go(restarts=0) == ContainersEnded(1, (SECOND, "its container was killed (exit code 137)"))
    assert run.docker.left() == []


# What fails before


def test_an_image_that_cannot_be_built_ends_in_its_last_lines_and_starts_nothing(run: Run) -> None:
    run.docker.prints("build", f"{TWENTY}\n", code=17)
    with pytest.raises(LauncherError) as caught:
        run.go()
    assert str(caught.value) == f"the image launcher:cpu could not be built:\n{LAST_12}"
    assert (caught.value.exit_code, run.steps, run.screen.notes) == (1, ["build"], [])


def test_a_build_that_is_not_quick_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_QUICK", 0.0)
    run.docker.does("build", "echo one; echo two")
    run.ends()
    run.go()
    assert run.screen.notes == ["building the image launcher:cpu", "one", "two"]


def test_containers_that_cannot_start_are_a_cluster_that_did_not_form(run: Run) -> None:
    run.docker.does("compose up", f"cp up/* containers/; printf '%s\\n' '{TWENTY}'; exit 1")
    run.stays()
    with pytest.raises(FormationError) as caught:
        run.go()
    assert str(caught.value) == f"the containers could not start:\n{LAST_12}"
    assert caught.value.exit_code == 3
    assert run.steps == ["build", "up", "down"]
    assert run.docker.left() == []


@pytest.mark.parametrize("compose", ["docker compose", "docker-compose"])
def test_a_command_that_does_not_end_is_ended(run: Run, monkeypatch: pytest.MonkeyPatch, compose: str) -> None:
    run.docker.program("docker-compose")
    run.daemon = Docker(tuple(compose.split()), rootless=False)
    hangs, clock = run.docker.world / "hangs", time.monotonic
    monkeypatch.setattr("time.monotonic", lambda: clock() + (module._UP_TIMEOUT if hangs.exists() else 0.0))
    run.docker.does("compose up", "echo pulling; sleep 0.5; touch hangs; exec sleep 60")  # its line is read by then
    with pytest.raises(FormationError, match=rf"pulling\n{compose} up did not end within 180 s$"):
        run.go()
    assert run.steps == ["build", "up", "down"]


def test_an_engine_that_goes_away_in_the_middle_is_an_error_and_compose_is_asked_to_clean_up(run: Run) -> None:
    run.stays()
    run.docker.does("events", "rm 'commands/container ls'; echo die; exec sleep 60")
    with pytest.raises(LauncherError, match="the Docker engine does not answer docker container ls: nobody said"):
        run.go()
    assert run.steps[-1] == "down"


# Stopped


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=["INT", "TERM", "HUP"]
)
def test_a_signal_lets_the_containers_end_and_removes_them(run: Run, number: int, code: int) -> None:
    run.stays()
    run.docker.logs("worker:0", ["training"])
    run.screen.on_line = signalled_by(number)
    assert run.go() == ContainersEnded(code)
    assert run.steps == ["build", "up", "stop", "down"]
    assert "--timeout=16" in run.docker.asked("stop")[0]
    assert run.docker.left() == []


def test_a_signal_during_the_build_starts_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_QUICK", 0.0)
    run.docker.does("build", "echo begun; exec sleep 60")
    interrupt = signalled_by(signal.SIGINT)
    run.screen.on_note = lambda text: interrupt(text) if text == "begun" else None
    assert run.go() == ContainersEnded(130)
    assert run.steps == ["build"]


def test_a_second_ctrl_c_waits_for_nobody_and_still_removes_everything(run: Run) -> None:
    run.stays()
    run.docker.logs("worker:0", ["training"])
    run.docker.does("compose stop", "sleep 1.1; kill -INT $PPID; exec sleep 60")  # a person's, a second later
    run.screen.on_line = signalled_by(signal.SIGINT)
    assert run.go() == ContainersEnded(130)
    assert run.docker.left() == []


@pytest.mark.parametrize("again", ["HUP", "TERM", "INT"])
def test_a_term_that_is_repeated_is_one_and_so_is_a_first_ctrl_c_after_it(run: Run, tmp_path: Path, again: str) -> None:
    run.stays()
    run.docker.logs("worker:0", ["training"])
    run.docker.does("compose stop", f"kill -{again} $PPID; sleep 1.1; touch {tmp_path}/stopped")
    run.screen.on_line = signalled_by(signal.SIGTERM)
    assert run.go() == ContainersEnded(143)
    assert (tmp_path / "stopped").exists()


HANGS = "exec sleep 600"


@pytest.mark.parametrize("ignores", [False, True], ids=["hangs", "ignores TERM"])
def test_an_engine_that_hangs_does_not_hold_a_stop_for_longer_than_the_grace(run: Run, *, ignores: bool) -> None:
    run.stays()
    run.docker.logs("worker:0", ["training"])

    def stop_with_an_engine_that_hangs(_: str) -> None:
        for what in ("container ls", "compose stop", "compose down", "network ls", "volume ls"):
            run.docker.does(what, f"trap '' TERM; {HANGS}" if ignores else HANGS)
        os.kill(os.getpid(), signal.SIGTERM)

    run.screen.on_line = stop_with_an_engine_that_hangs
    assert run.go(grace="2s") == ContainersEnded(143)
    first, last = run.screen.notes
    assert first.endswith(f"; to remove what is left of this run: {module.down(run.daemon, run.files)}")
    assert last.startswith("docker container ls gave no answer for ")


def test_a_container_that_does_not_end_is_left_to_the_engine_for_no_longer_than_the_grace(run: Run) -> None:
    run.stays()
    run.docker.logs("worker:0", ["training"])
    run.docker.does("compose stop", HANGS)
    run.screen.on_line = signalled_by(signal.SIGHUP)
    assert run.go(grace="3s") == ContainersEnded(143)
    assert run.docker.left() == []


def test_a_term_after_a_ctrl_c_bounds_the_stop_as_well(run: Run) -> None:
    run.stays()
    run.docker.logs("worker:0", ["training"])
    run.docker.does("compose stop", f"kill -TERM $PPID; {HANGS}")
    run.screen.on_line = signalled_by(signal.SIGINT)
    assert run.go(grace="3s") == ContainersEnded(130)
    assert run.docker.left() == []


def test_a_screen_that_nobody_reads_ends_the_run(run: Run) -> None:
    run.stays()
    run.docker.logs("worker:0", ["training"])
    run.screen.on_line = nobody_reads
    assert run.go() == ContainersEnded(143)
    assert run.docker.left() == []


def test_what_the_engine_would_not_remove_is_named(run: Run) -> None:
    run.ends()
    run.docker.does("compose down", ":")
    run.docker.fails("network rm", "network has active endpoints")
    assert run.go() == ContainersEnded(0)
    assert run.screen.notes == ["the engine would not remove network net"]


# What is left of others


def test_what_a_killed_launcher_has_left_of_this_run_is_removed(run: Run) -> None:
    run.docker.container("worker:0", code=137, place="containers")
    (run.docker.world / "networks" / "net").touch()
    refuse_second(run.daemon, run.files)
    assert run.docker.left() == []


@pytest.mark.parametrize("state", ["running", "paused", "restarting"])
def test_a_second_launcher_of_the_same_run_is_refused(run: Run, state: str) -> None:
    run.docker.container("worker:0", place="containers")
    run.docker.container("worker:1", state, place="containers")
    with pytest.raises(UsageError) as caught:
        refuse_second(run.daemon, run.files)
    # With the file: docker-compose 1 ends nothing without one.
    down = f"--project-name {project_name(run.files.directory)} --file {run.files.compose} down"
    assert str(caught.value) == (f"{run.files.name} is running in containers already; to end it: docker compose {down}")
    assert caught.value.exit_code == 2
    assert run.docker.left() == ["worker-0", "worker-1"]


def test_each_directory_has_a_project_of_its_own(tmp_path: Path) -> None:
    names = {project_name(tmp_path / place / "Night.1 é") for place in ("a", "b")}
    assert len(names) == 2
    assert all(name.startswith("launcher-night-1---") for name in names)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert project_name(tmp_path / "link" / "x") != project_name(tmp_path / "link" / "y")
    assert project_name(tmp_path / "link" / "x") == project_name(tmp_path / "real" / "x")


# What is shown


def test_every_line_of_every_container_is_shown_with_its_task(run: Run) -> None:
    run.ends()
    run.docker.logs("worker:0", ["one", "", "two  words"])
    run.docker.logs("worker:1", ["three"])
    run.go()
    assert run.screen.of("worker:0") == ["one", "", "two  words"]
    assert run.screen.of("worker:1") == ["three"]


def test_a_container_that_starts_again_repeats_no_line(run: Run) -> None:
    run.starts_again()
    run.docker.logs("worker:1", ["before"])
    run.docker.logs("worker:1", ["before", "after"], since=True)  # the engine begins with the last line once more
    run.go(restarts=1)
    assert run.screen.of("worker:1") == ["before", "after"]
    assert "--since 2026-01-01T00:00:00.000000000Z worker-1" in run.docker.asked("logs")[-1]


def test_a_container_that_ends_again_before_its_first_lines_have_come_loses_none(run: Run) -> None:
    run.starts_again()
    late = 'for id; do :; done; case "$*" in *--since*) id=$id.since ;; *) sleep 1 ;; esac; cat logs/$id 2>/dev/null'
    run.docker.does("container logs", late)
    run.docker.logs("worker:1", ["before"])
    run.docker.logs("worker:1", ["before", "after"], since=True)
    run.go(restarts=1)
    assert run.screen.of("worker:1") == ["before", "after"]


def test_what_the_engine_says_of_a_log_is_no_line_of_the_task(run: Run) -> None:
    run.ends()
    run.docker.does("container logs", "echo Error response from daemon; echo 2026-01-01T00:00:00.000000000Z mine")
    run.go()
    assert run.screen.of("worker:0") == run.screen.of("worker:1") == ["mine"]


def test_who_is_missing_is_said_once_for_all_tasks(run: Run) -> None:
    run.ends()
    for task in ("worker:0", "worker:1"):
        run.docker.logs(task, ["waiting for ps:0 (3 s)", "here"])
    run.go()
    assert [text for _, text in run.screen.lines if text.startswith("waiting")] == ["waiting for ps:0 (3 s)"]
    assert [text for _, text in run.screen.lines].count("here") == 2


def test_who_is_missing_now_is_said_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.ends()
    run.docker.logs("worker:0", ["waiting for ps:0", "waiting for ps:1", "waiting for ps:1"])
    run.go()
    assert run.screen.of("worker:0") == ["waiting for ps:0", "waiting for ps:1"]
    monkeypatch.setattr(module, "_WAITING_EVERY", 0.0)
    run.screen.lines.clear()
    run.go()
    assert run.screen.of("worker:0") == ["waiting for ps:0", "waiting for ps:1", "waiting for ps:1"]


def test_how_far_the_training_is_comes_from_the_last_report(run: Run) -> None:
    report = module._LastReport(run.files.metrics)
    assert report.read() == {}
    lines = [{"step": step, "epoch": 1, "time": 0.5, "task": "worker:0", "loss": step / 2} for step in range(500)]
    run.files.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert (report.read()["step"], report.read()["figures"]) == (499, {"loss": 249.5})
    run.files.metrics.unlink()
    assert report.read()["step"] == 499  # for the moment in which the file is written anew
