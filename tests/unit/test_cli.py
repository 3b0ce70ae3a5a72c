from __future__ import annotations

import os
import re
import shutil
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


ALL_CLOSED = "<&- >&- 2>&-"
CLOSED = (*ALL_CLOSED.split(), ALL_CLOSED)
ENDS = {
    "--help": 0,
    "--version": 0,
    "plan": 0,
    "plan --json": 0,
    "config get mode": 0,
    "config schema": 0,
    "render compose": 0,
    "plan nothing.yaml": 2,
    "config get nothing": 2,
    "run --resume nothing": 2,
}


@pytest.mark.parametrize(
    ("arguments", "code", "closed"),
    [
        *((arguments, code, ALL_CLOSED) for arguments, code in ENDS.items()),
        # One by one where something is printed, and where it is said what was wrong.
        *((arguments, ENDS[arguments], one) for arguments in ("plan", "plan nothing.yaml") for one in CLOSED[:-1]),
    ],
)
def test_a_closed_stream_changes_no_exit_code(arguments: str, code: int, closed: str) -> None:
    command = f"exec {sys.executable} -m launcher {arguments} {closed}"
    said = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == code, said.stderr
    assert "Traceback" not in said.stdout + said.stderr
    assert "2>&-" in closed or code == 0 or said.stderr


OTHERS = (
    "check",
    "doctor",
    "config init --yes --file other.yaml",
    "config set mode=async",
    "config show",
    "config init",  # a file is there: refused
    "config key",
    "render compose --output compose.yaml",
)


def ran_beside(directory: Path, arguments: str, closed: str) -> tuple[int, str, str, dict[str, int]]:
    """Return a verb's exit code, what it prints but for figures, and the sizes of the files, in ``directory``."""
    shutil.copy(ROOT / "cluster.yaml", directory)
    # Without TensorFlow, whose import takes seconds: the verbs say that it is missing.
    missing = directory.parent / "missing" / "tensorflow"
    missing.mkdir(parents=True, exist_ok=True)
    (missing / "__init__.py").write_text("raise ImportError('missing')")
    command = f"exec {sys.executable} -m launcher {arguments} {closed}"
    environment = {**os.environ, "PYTHONPATH": f"{missing.parent}:{ROOT}"}
    said = subprocess.run(
        ["sh", "-c", command], cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    files = {path.name: len(path.read_text()) for path in directory.iterdir() if path.is_file()}
    out, error = (re.sub(r"[\d.]+", "#", text) for text in (said.stdout, said.stderr))
    return said.returncode, out, error, files


@pytest.mark.parametrize("arguments", OTHERS)
def test_every_other_verb_does_the_same_whichever_stream_is_closed(tmp_path: Path, arguments: str) -> None:
    here = tmp_path / "here"  # each time anew, at the same path
    here.mkdir()
    code, out, error, files = ran_beside(here, arguments, "</dev/null")
    assert "Traceback" not in out + error
    assert out or error
    for closed in CLOSED:
        shutil.rmtree(here)
        here.mkdir()
        expected = code, "" if " >&-" in f" {closed}" else out, "" if "2>&-" in closed else error, files
        assert ran_beside(here, arguments, closed) == expected, closed


def test_what_is_opened_next_does_not_get_the_number_of_a_closed_stream() -> None:
    code = (
        "from launcher import cli; cli._open_streams(); import os; print(os.open(os.devnull, 0) > 2, file=open(9, 'w'))"
    )
    command = f'exec 9>&1; exec {sys.executable} -c "{code}" <&- >&- 2>&-'
    said = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert said.stdout == "True\n"
