from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launcher import __version__
from launcher.cli import VERBS

ROOT = Path(__file__).parents[2]
HEAVY = ("tensorflow", "keras", "numpy", "matplotlib", "pydantic", "rich", "yaml", "launcher.runtime")


def launcher(*arguments: str, python: tuple[str, ...] = ("-m", "launcher")) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_help_names_every_verb(arguments: list[str]) -> None:
    said = launcher(*arguments)
    assert (said.returncode, said.stderr) == (0, "")
    for verb, meaning in VERBS.items():
        assert f"  {verb} " in said.stdout
        assert meaning.split()[0] in said.stdout


def test_help_imports_nothing_heavy() -> None:
    said = launcher("--help", python=("-X", "importtime", "-m", "launcher"))
    imported = {line.rpartition("|")[2].strip() for line in said.stderr.splitlines()}
    assert {"click", "launcher.cli"} <= imported
    assert not imported & set(HEAVY)


def test_version_is_the_packages() -> None:
    assert launcher("--version").stdout == f"launcher, version {__version__}\n"


def test_an_unknown_verb_gets_the_nearest_word() -> None:
    said = launcher("rum")
    assert said.returncode == 2
    assert "there is no verb 'rum'; did you mean 'run'?" in said.stderr
    assert "Traceback" not in said.stderr


def test_an_unknown_option_is_a_usage_error() -> None:
    said = launcher("--colour")
    assert said.returncode == 2
    assert "--colour" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("plan", 0),
        ("plan --json", 0),
        ("config get mode", 0),
        ("config schema", 0),
        ("render compose", 0),
        ("plan nothing.yaml", 2),
        ("config get nothing", 2),
        ("run --resume nothing", 2),
    ],
)
def test_a_closed_stream_changes_no_exit_code(arguments: str, code: int, closed: str) -> None:
    command = f"exec {sys.executable} -m launcher {arguments} {closed}"
    said = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == code, said.stderr
    assert "Traceback" not in said.stdout + said.stderr
    assert "2>&-" in closed or code == 0 or said.stderr


def test_what_is_opened_next_does_not_get_the_number_of_a_closed_stream() -> None:
    code = (
        "from launcher import cli; cli._open_streams(); import os; print(os.open(os.devnull, 0) > 2, file=open(9, 'w'))"
    )
    command = f'exec 9>&1; exec {sys.executable} -c "{code}" <&- >&- 2>&-'
    said = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert said.stdout == "True\n"
