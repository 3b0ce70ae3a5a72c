"""The commands that the pages show run, and do what the pages say."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from launcher.cli import VERBS
from tests.docs.pages import ELSEWHERE, PAGES, README, ROOT, commands, named_files, run


@pytest.mark.parametrize(("command", "tolerance"), [("make run", 1e-4), ("make run MODE=async", 5e-3)])
def test_make_run_reaches_the_truth_and_leaves_the_run_directory(command: str, tolerance: float) -> None:
    assert command in commands(README)
    printed = run(command, ROOT)
    directory = ROOT / printed.rpartition("run directory: ")[2].strip()
    result = json.loads((directory / "result.json").read_text())
    assert result["metrics"]["W"] == pytest.approx(0.2516349, abs=tolerance)
    assert result["metrics"]["b"] == pytest.approx(0.7988012, abs=tolerance)
    assert {"linear_train.png", "linear_test.png", "cost.png", "model"} <= {path.name for path in directory.iterdir()}
    assert result["steps"] == 17_000
    shutil.rmtree(directory)


@pytest.mark.timeout(600)  # the README's start three clusters
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_the_commands_of_a_page_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "cluster.yaml", tmp_path)
    for name, content in named_files(page):
        (tmp_path / name).write_text(content)
    for command in commands(page):
        if command.startswith("make ") or command in ELSEWHERE:  # make needs the repository: Makefile, .venv
            continue
        printed = run(command, tmp_path)
        assert not command.startswith("launcher run mean.yaml") or "mean 4.5" in printed


def test_the_commands_that_are_not_run_are_shown() -> None:
    assert set(ELSEWHERE) <= set(commands())


def test_the_pages_show_every_verb() -> None:
    assert {command.split()[1] for command in commands() if command.startswith("launcher ")} == set(VERBS)


def test_every_goal_of_make_that_the_pages_name_is_one() -> None:
    goals = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {goal for page in PAGES for goal in re.findall(r"\bmake ([a-z][\w-]*)(?=[ `\n])", _code(page))}
    assert named <= goals
    assert {"run", "compose", "test", "faults", "gpu", "setup", "help"} <= named


def _code(page: Path) -> str:
    """Return what a page shows as code: blocks and words."""
    text = page.read_text()
    return "\n".join([*re.findall(r"```\w+\n(.*?)```", text, re.DOTALL), *re.findall(r"`[^`\n]+`", text)])
