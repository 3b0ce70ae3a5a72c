"""What bash, zsh and fish offer while one types."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from launcher.cli import launcher

FILE = "mode: sync\njob: hello\nargs: {own: 1}\ncluster:\n  worker: 2\n  ps: 1\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text(FILE)
    for name in ("night", "day"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "plan.json").write_text("{}")
    return tmp_path


def offered(*words: str) -> list[str]:
    """Return what is offered for the last word."""
    complete = ShellComplete(launcher, {}, "launcher", "_LAUNCHER_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["re"], ["render"]),
        (["config", "se"], ["set"]),
        (["run", "--re"], ["--resume"]),
        (["run", "--resume", ""], ["day", "night"]),
        (["run", "--task", "w"], ["worker:0", "worker:1"]),
        (["plan", "--task", "p"], ["ps:0"]),
        (["run", "--set", "mo"], ["mode=async", "mode=sync"]),
        (["run", "--set", "run.re"], ["run.restarts="]),
        (["run", "--on", ""], ["local", "compose"]),
        (["plan", "--on", "c"], ["compose"]),
        (["render", "c"], ["compose"]),
        (["run", "--set", "run.on"], ["run.on=local", "run.on=compose"]),
        (["config", "get", "run.check"], ["run.checkpoint", "run.checkpoint.every", "run.checkpoint.keep"]),
        (["config", "get", "args."], ["args.own"]),
        (["config", "set", "run.net"], ["run.network=host", "run.network=private"]),
        (["config", "unset", "cluster.ps.ta"], ["cluster.ps.tasks"]),
        (["config", "add", "e"], ["evaluator"]),
        (["config", "remove", "worker"], ["worker:0", "worker:1", "worker"]),
        (["config", "diff", "--run", "n"], ["night"]),
    ],
)
def test_words_are_offered_if_they_fit(words: list[str], expected: list[str]) -> None:
    assert sorted(offered(*words)) == sorted(expected)


def test_the_file_that_was_named_is_the_one_that_counts(place: Path) -> None:
    (place / "other.yaml").write_text(FILE.replace("worker: 2", "worker: 1"))
    assert offered("config", "remove", "--file", "other.yaml", "worker:") == ["worker:0"]


def test_with_a_wrong_file_there_are_still_keys_and_runs(place: Path) -> None:
    (place / "cluster.yaml").write_text("job: [")
    assert offered("config", "get", "run.restarts") == ["run.restarts"]
    assert offered("run", "--resume", "d") == ["day"]
    assert offered("run", "--task", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    environment = {**os.environ, "_LAUNCHER_COMPLETE": f"{shell}_source"}
    command = [sys.executable, "-m", "launcher"]
    script = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "_LAUNCHER_COMPLETE=" + shell + "_complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)
