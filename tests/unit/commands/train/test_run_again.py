"""The verb on a run that is there: resumed, or named by launchers that share its directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from launcher.rundir import RunFiles
from tests.unit.commands.train.launches import DONE, FILE, HOSTS, FakeLaunch, call, refused

pytestmark = pytest.mark.usefixtures("launch")


# Resumed


def started(result: Mapping[str, Any] | None = None) -> RunFiles:
    """A run of the cluster file, with this result."""
    call()
    files = RunFiles((Path("runs") / "latest").resolve())
    files.prepare_attempt(1)
    if result is not None:
        files.result.write_text(json.dumps(result))
    return files


def test_a_finished_run_says_so_and_does_nothing(launch: type[FakeLaunch], monkeypatch: pytest.MonkeyPatch) -> None:
    files = started(DONE.to_dict())
    monkeypatch.setattr(launch, "run", pytest.fail)
    result = call("--resume", "latest")
    assert (result.exit_code, result.output) == (0, f"{files.name} is finished (17000 steps): nothing to do.\n")


@pytest.mark.parametrize(
    "end",
    [
        {"status": "stopped", "exit_code": 130},
        {"status": "failed", "exit_code": 1, "cause": {"task": "worker:1", "error": "x", "file": "x"}},
        None,
    ],
    ids=["stopped", "failed", "none"],
)
def test_an_unfinished_run_goes_on_where_it_was_with_the_file_that_it_had(
    launch: type[FakeLaunch], end: dict[str, Any] | None
) -> None:
    files = started(None if end is None else {**DONE.to_dict(), **end})
    Path("cluster.yaml").write_text(FILE.replace("tasks: 2", "tasks: 1"))
    result = call("--resume", files.name, "--set", "run.restarts=7")
    assert result.exit_code == 0
    assert launch.files == files
    assert launch.tasks == ("worker:0", "worker:1")
    assert launch.plan.spec.run.restarts == 7
    assert launch.plan.directory == str(Path.cwd())


def test_a_run_is_resumed_by_its_path_from_anywhere(
    launch: type[FakeLaunch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = started()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert call("--resume", str(files.directory)).exit_code == 0
    assert (launch.files, launch.plan.directory) == (files, str(tmp_path))


# Named, for launchers that share a directory


def test_a_named_run_has_the_directory_of_that_name(launch: type[FakeLaunch], monkeypatch: pytest.MonkeyPatch) -> None:
    call("--run", "night")
    assert launch.files == RunFiles(Path.cwd() / "runs" / "night")
    assert launch.files.plan.exists()
    assert Path("runs/latest").readlink() == Path("night")
    monkeypatch.setenv("LAUNCHER_RUN", "day")
    call()
    assert launch.files.name == "day"
    call("--run", "night")
    assert launch.files.name == "night"


@pytest.mark.parametrize("result", [None, {**DONE.to_dict(), "status": "stopped"}], ids=["running", "stopped"])
def test_a_launcher_joins_a_run_that_is_there_and_leaves_what_another_has_written(
    launch: type[FakeLaunch], result: Mapping[str, Any] | None
) -> None:
    call(*HOSTS, "--run", "night", "--task", "worker:0")
    first, files = launch.files.cluster_file.read_text(), launch.files
    if result:
        files.result.write_text(json.dumps(result))
    assert call(*HOSTS, "--run", "night", "--task", "worker:1", "--set", "run.restarts=7").exit_code == 0
    assert (launch.files, launch.tasks) == (files, ("worker:1",))
    assert files.cluster_file.read_text() == first
    assert [path.name for path in Path("runs").iterdir() if not path.is_symlink()] == ["night"]


def test_a_named_run_that_is_finished_says_so_and_does_nothing(
    launch: type[FakeLaunch], monkeypatch: pytest.MonkeyPatch
) -> None:
    call("--run", "night")
    launch.files.result.write_text(json.dumps(DONE.to_dict()))
    monkeypatch.setattr(launch, "run", pytest.fail)
    result = call("--run", "night")
    assert (result.exit_code, result.output) == (0, "night is finished (17000 steps): nothing to do.\n")


@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_named_run_that_has_failed_repeats_its_failure_and_its_exit_code(
    launch: type[FakeLaunch], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    call("--run", "night")
    cause = {"task": "worker:1", "error": "ValueError: no", "file": "errors/attempt-1/worker-1.json"}
    failed = {**DONE.to_dict(), "status": "failed", "exit_code": code, "cause": cause}
    launch.files.result.write_text(json.dumps(failed))
    monkeypatch.setattr(launch, "run", pytest.fail)
    result = call("--run", "night")
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == (
        "night has failed before; another name starts a new run, "
        "launcher run --resume runs/night tries this one again\n"
        "worker:1 failed: ValueError: no\n"
    )
    assert json.loads(launch.files.result.read_text()) == failed


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "-x", "two words", "x" * 64])
def test_what_cannot_name_a_directory_is_refused(name: str) -> None:
    assert refused(f"--run={name}").startswith(f"--run: {name!r} cannot name a run's directory; use letters, digits")


def test_latest_is_no_name_for_a_run() -> None:
    said = refused("--run", "latest")
    assert said == "--run: latest points at the newest run; use another name, or --resume latest"


def test_a_run_that_is_resumed_keeps_its_name_whatever_the_environment_says(
    launch: type[FakeLaunch], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = started()
    monkeypatch.setenv("LAUNCHER_RUN", "night")
    assert call("--resume", files.name).exit_code == 0
    assert launch.files == files
    assert not Path("runs/night").exists()
