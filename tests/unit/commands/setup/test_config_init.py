"""`launcher config init`: a first file from questions or flags, checked and shown before it is written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from launcher.cli import launcher
from launcher.errors import LauncherError, UsageError
from launcher.spec.file import load
from launcher.spec.schema import PATH
from launcher.terminal import questions


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str, answers: str = "") -> Result:
    result = CliRunner().invoke(launcher, ["config", "init", *arguments], input=answers)
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit | LauncherError):
        raise result.exception
    return result


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is there to answer."""
    monkeypatch.setattr(questions, "_is_answered", lambda: True)


def test_without_questions_the_defaults_make_a_right_file_with_comments() -> None:
    result = call("--yes")
    assert result.exit_code == 0
    assert "worker:1" in result.output
    assert result.output.endswith("cluster.yaml is written; next: launcher run\n")
    spec = load(Path("cluster.yaml")).spec
    assert (spec.mode, spec.job, spec.cluster.size) == ("sync", "linear_regression", 2)
    assert Path("cluster.yaml").read_text().count("#") > 8


def test_flags_say_it_all() -> None:
    flags = ("--mode", "async", "--workers", "3", "--ps", "2", "--job", "hello", "--name", "night", "--gpus", "0")
    result = call("--yes", "--file", "n.yaml", "--hosts", "node-a,node-b", *flags)
    assert result.exit_code == 0
    assert result.output.endswith("next: launcher run n.yaml\n")
    spec = load(Path("n.yaml")).spec
    assert spec.cluster.worker is not None
    assert spec.cluster.ps is not None
    assert spec.cluster.worker.addresses == ("node-a:2222", "node-b:2222", "node-a:2223")
    assert spec.cluster.ps.addresses == ("node-a:2322", "node-b:2322")
    assert (spec.name, spec.mode, spec.job) == ("night", "async", "hello")


@pytest.mark.usefixtures("terminal")
def test_answers_make_the_file_and_the_plan_is_shown_before_it_is_written() -> None:
    result = call(answers="async\n3\n2\n0\n\nhello\ny\n")
    assert result.output.index("ps:1") < result.output.index("Write cluster.yaml?")
    spec = load(Path("cluster.yaml")).spec
    assert (spec.mode, spec.cluster.size, spec.job, spec.name) == ("async", 5, "hello", "hello")


@pytest.mark.usefixtures("terminal")
def test_an_answer_that_cannot_be_is_asked_again_at_once() -> None:
    result = call(answers="sync\n2\nnode a,b\nnode-a:22\nnode-a,node-b\n0\nhelo\nhello\ny\n")
    for wrong in ("node a", "node-a:22"):
        assert f"Error: {wrong!r} is not the name of a machine; write names alone" in result.output
    assert "Error: there is no job 'helo'; did you mean 'hello'?" in result.output
    spec = load(Path("cluster.yaml")).spec
    assert spec.cluster.worker is not None
    assert (spec.job, spec.cluster.worker.addresses) == ("hello", ("node-a:2222", "node-b:2222"))


def test_editors_find_the_schema(place: Path) -> None:
    (place / "deep").mkdir()
    call("--yes", "--file", "deep/first.yaml")
    line = (place / "deep/first.yaml").read_text().splitlines()[0]
    assert (place / "deep" / line.removeprefix("# yaml-language-server: $schema=")).resolve() == PATH


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--ps", "2"), "--ps: sync mode starts no ps; leave it out, or choose --mode async"),
        (("--hosts", "a b"), "Invalid value for '--hosts': 'a b' is not the name of a machine"),
        (("--name", "a b"), "Invalid value for '--name': 'a b' cannot name a run's directory"),
    ],
)
def test_a_flag_that_cannot_be_is_refused(flags: tuple[str, ...], sentence: str) -> None:
    result = call("--yes", *flags)
    assert result.exit_code in (1, 2)
    assert sentence in f"{result.output}{result.exception}"
    assert not Path("cluster.yaml").exists()


def test_a_job_whose_file_has_an_unusual_name_still_names_the_runs() -> None:
    call("--yes", "--job", "my job: 1.py")
    spec = load(Path("cluster.yaml")).spec
    assert (spec.job, spec.name) == ("my job: 1.py", "my-job-1")


@pytest.mark.usefixtures("terminal")
def test_without_agreement_no_file_is_written() -> None:
    result = call(answers="sync\n2\n0\n\nhello\nn\n")
    assert result.exit_code == 1
    assert result.output.endswith("nothing was written\n")
    assert not Path("cluster.yaml").exists()


def test_a_file_that_is_there_stays_unless_forced() -> None:
    Path("cluster.yaml").write_text("mine")
    result = call("--yes")
    assert isinstance(result.exception, UsageError)
    assert "exists already; --force overwrites it" in str(result.exception)
    assert Path("cluster.yaml").read_text() == "mine"
    assert call("--yes", "--force").exit_code == 0
    assert load(Path("cluster.yaml")).spec.cluster.size == 2


def test_without_a_terminal_nothing_is_asked() -> None:
    assert not sys.stdin.isatty()
    result = call()
    assert "its input is not a terminal; --yes takes the defaults" in str(result.exception)


def test_a_job_that_is_not_there_yet_is_a_note() -> None:
    result = call("--yes", "--job", "train.py")
    assert result.exit_code == 0
    assert "there is no script 'train.py'" in result.output
