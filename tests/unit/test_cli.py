from __future__ import annotations

import os
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
        *(
            (arguments, ENDS[arguments], one)
            for arguments in ("plan", "plan nothing.yaml")
            for one in ALL_CLOSED.split()
        ),
    ],
)
def test_a_closed_stream_changes_no_exit_code(arguments: str, code: int, closed: str) -> None:
    command = f"exec {sys.executable} -m launcher {arguments} {closed}"
    said = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == code, said.stderr
    assert "Traceback" not in said.stdout + said.stderr
    assert "2>&-" in closed or code == 0 or said.stderr


def closed_beside(directory: Path, arguments: str, closed: str) -> tuple[int, str, dict[str, str]]:
    """Return the exit code, what was printed, and the files, of a verb in a copy of the cluster file's directory."""
    shutil.copy(ROOT / "cluster.yaml", directory)
    command = f"exec {sys.executable} -m launcher {arguments} {closed}"
    environment = {**os.environ, "PYTHONPATH": f"{directory.parent}:{ROOT}"}
    said = subprocess.run(
        ["sh", "-c", command], cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    files = {path.name: path.read_text() for path in directory.iterdir() if path.is_file()}
    return said.returncode, said.stdout + said.stderr, files


# All that `check` and `doctor` ask of TensorFlow.
TENSORFLOW = """
from types import SimpleNamespace
__version__ = "2.21.0"
sysconfig = SimpleNamespace(get_build_info=dict)
config = SimpleNamespace(list_physical_devices=lambda kind: [])
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "check",
        "doctor",
        "config init --yes --file other.yaml",
        "config set mode=async",
        "config show",
        "config init",  # a file is there: refused
    ],
)
def test_every_other_verb_does_the_same_with_all_streams_closed(tmp_path: Path, arguments: str) -> None:
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW)
    places = tmp_path / "open", tmp_path / "closed"
    for place in places:
        place.mkdir()
    code, printed, files = closed_beside(places[0], arguments, "</dev/null")
    assert "Traceback" not in printed
    assert closed_beside(places[1], arguments, ALL_CLOSED) == (code, "", files), printed


def test_what_is_opened_next_does_not_get_the_number_of_a_closed_stream() -> None:
    code = (
        "from launcher import cli; cli._open_streams(); import os; print(os.open(os.devnull, 0) > 2, file=open(9, 'w'))"
    )
    command = f'exec 9>&1; exec {sys.executable} -c "{code}" <&- >&- 2>&-'
    said = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert said.stdout == "True\n"
