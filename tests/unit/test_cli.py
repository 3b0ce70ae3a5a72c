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
