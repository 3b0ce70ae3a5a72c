"""The commands that the pages show run; tests/cluster/test_pages.py has those that start clusters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from launcher.cli import VERBS
from tests.docs.pages import ELSEWHERE, PAGES, ROOT, commands, run_page, starts_clusters


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page) and not starts_clusters(page)], ids=lambda page: page.name
)
def test_the_commands_of_a_page_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


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
