"""What the verbs share: --set and its environment, --directory, --task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from launcher.commands.options import cluster_file, place_of, task_named
from launcher.commands.train.plan import command as plan_command
from launcher.commands.train.run import command as run_command
from launcher.contract.environment import SET_KEY
from launcher.contract.task import Task
from launcher.engines.local import engine as local_engine
from launcher.errors import SpecError, UsageError

FILE = "job: hello\nname: demo\ncluster: {worker: {tasks: 2, gpus: 0}}\n"


@pytest.fixture(autouse=True)
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cluster.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    for key in ("LAUNCHER_RUN", "LAUNCHER_DIRECTORY", SET_KEY):
        monkeypatch.delenv(key, raising=False)


@click.command
@cluster_file
def shown(file: Path, overrides: Sequence[str]) -> None:
    """Print what a verb is given."""
    click.echo(json.dumps([str(file), *overrides]))


def given(*arguments: str) -> list[str]:
    found: list[str] = json.loads(CliRunner().invoke(shown, arguments, catch_exceptions=False).output)
    return found


# --set and LAUNCHER_SET


def test_the_file_is_cluster_yaml_unless_it_is_named() -> None:
    assert given() == ["cluster.yaml"]
    assert given("my.yaml", "--set", "a=1") == ["my.yaml", "a=1"]


def test_lines_of_the_environment_come_before_what_the_command_line_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SET_KEY, "a=1\nb=2")
    assert given("--set", "a=3", "--set", "c=4") == ["cluster.yaml", "a=1", "b=2", "a=3", "c=4"]


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ("", []),
        ("\n\n", []),
        ("a=1\n", ["a=1"]),
        ("\na=1\n\nb= x \n", ["a=1", "b= x "]),
        ("a=$x 'y' #z", ["a=$x 'y' #z"]),
    ],
)
def test_empty_lines_of_the_environment_set_nothing(
    monkeypatch: pytest.MonkeyPatch, value: str, lines: list[str]
) -> None:
    monkeypatch.setenv(SET_KEY, value)
    assert given() == ["cluster.yaml", *lines]


def test_a_line_of_the_environment_ends_where_a_line_ends_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SET_KEY, "a=1\u20282\x853\r4\nb=5")
    assert given() == ["cluster.yaml", "a=1\u20282\x853\r4", "b=5"]


def plan(*arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(plan_command, ["--json", *arguments], catch_exceptions=False)
    value: dict[str, object] = json.loads(result.output)
    return value


def test_both_hold_and_the_command_line_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SET_KEY, "name=other\nmode=async\ncluster.ps=1")
    found = plan("--set", "mode=sync")
    assert (found["name"], found["mode"]) == ("other", "sync")
    assert [idle["task"] for idle in found["idle"]] == ["ps:0"]  # type: ignore[attr-defined]


def test_a_line_of_the_environment_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SET_KEY, "mode=fast")
    with pytest.raises(SpecError, match=r"^--set mode=fast: mode: "):
        plan()


# --directory and LAUNCHER_DIRECTORY


class Stopped(Exception):
    """What a launch is stopped with, so that nothing starts."""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a script; the cluster file that means it lies in another one."""
    place = tmp_path / "code"
    place.mkdir()
    (place / "train.py").touch()
    Path("cluster.yaml").write_text(FILE.replace("hello", "train.py"))

    def launch(*_: object, **__: object) -> None:
        raise Stopped

    monkeypatch.setattr(local_engine, "LocalRun", launch)
    return place


def run(*arguments: str) -> Result:
    return CliRunner().invoke(run_command, arguments, catch_exceptions=False)


def started_in(directory: Path) -> None:
    """The run was prepared there, with paths that start there."""
    assert json.loads((directory / "runs" / "latest" / "plan.json").read_text())["directory"] == str(directory)


def test_paths_of_the_file_start_in_the_directory_that_is_given(elsewhere: Path) -> None:
    with pytest.raises(Stopped):
        run("--directory", "code")
    started_in(elsewhere)
    assert not Path("runs").exists()


def test_the_environment_gives_the_directory_and_the_command_line_has_the_last_word(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong").mkdir()
    monkeypatch.setenv("LAUNCHER_DIRECTORY", "code")
    with pytest.raises(Stopped):
        run()
    started_in(elsewhere)
    monkeypatch.setenv("LAUNCHER_DIRECTORY", "wrong")
    with pytest.raises(Stopped):
        run("--directory", str(elsewhere))
    assert not (tmp_path / "wrong" / "runs").exists()


@pytest.mark.usefixtures("elsewhere")
def test_without_a_directory_paths_start_beside_the_file() -> None:
    with pytest.raises(UsageError, match=r"there is no script 'train\.py'"):
        run()


@pytest.mark.parametrize("name", ["gone", "cluster.yaml"])
def test_a_directory_that_is_none_is_refused(name: str) -> None:
    result = run("--directory", name)
    assert (result.exit_code, Path("runs").exists()) == (2, False)
    assert "--directory" in result.output


# --task


@pytest.mark.parametrize("name", ["worker:0", "chief:0", "ps:12"])
def test_a_task_is_named_by_job_and_index(name: str) -> None:
    assert str(task_named(name)) == name


@pytest.mark.parametrize("name", ["", "worker", "worker:", ":0", "worker:-1", "worker:x", "worker:1:2", "wor ker:1"])
def test_what_names_no_task_is_refused_with_how_to_write_one(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        task_named(name)
    assert str(caught.value) == f"--task: {name!r} is not a task; a task is written job:index, like worker:1"


def test_a_task_or_a_host_says_which_machine_this_is() -> None:
    assert place_of("worker:1", None) == Task("worker", 1)
    assert place_of(None, "node-a") == "node-a"
    assert place_of("worker:1", "node-a") == Task("worker", 1)
    assert place_of(None, None) is None
    with pytest.raises(UsageError, match=r"^--task: '' is not a task"):
        place_of("", None)
