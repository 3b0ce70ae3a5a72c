"""The goals of the Makefile: what they start, and how they end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.unit.make.conftest import INSTALLED_DEV, Tree

CTRL_C = signal.SIGINT


@pytest.fixture
def ctrl_c_is_not_ignored() -> Iterator[None]:
    """Children react to SIGINT, even if the tests run in the background (`make test &`), where a shell ignores it."""
    before = signal.signal(CTRL_C, signal.default_int_handler)
    yield
    signal.signal(CTRL_C, before)


@pytest.mark.parametrize(
    ("arguments", "launched"),
    [
        (["MODE=async"], "-m launcher run --set mode=async"),
        (["FILE=my own.yaml"], "-m launcher run my own.yaml"),
        (["ARGS=--set cluster.worker.tasks=3"], "-m launcher run --set cluster.worker.tasks=3"),
        (["FILE=a.yaml", "MODE=sync", "ARGS=--resume r"], "-m launcher run a.yaml --set mode=sync --resume r"),
    ],
)
def test_mode_file_and_further_options_reach_the_launcher(tree: Tree, arguments: list[str], launched: str) -> None:
    tree.add_python()
    assert tree.make("run", *arguments).returncode == 0
    assert tree.done()[-1] == launched


def test_a_failed_run_fails_make(tree: Tree) -> None:
    tree.add_python(launcher="exit 3")
    assert tree.make("run").returncode == 2


@pytest.mark.usefixtures("ctrl_c_is_not_ignored")
def test_ctrl_c_reaches_the_launcher_and_make_waits_for_it(tree: Tree) -> None:
    ends = f"sleep 0.2; echo cleaned up >>'{tree.record}'; exit 130"
    tree.add_python(launcher=f"trap \"{ends}\" INT; echo started >>'{tree.record}'; while :; do sleep 0.05; done")
    make = subprocess.Popen(["make", "run"], cwd=tree.directory, env=tree.environment(), start_new_session=True)
    try:
        while not tree.record.exists() or "started" not in tree.record.read_text():
            assert make.poll() is None
            time.sleep(0.02)
        os.killpg(make.pid, CTRL_C)  # as a terminal does it: to everyone in the foreground
        assert make.wait(timeout=30) != 0
        assert tree.done()[-1] == "cleaned up"
    finally:
        if make.poll() is None:
            os.killpg(make.pid, signal.SIGKILL)
            make.wait()


@pytest.mark.parametrize("goal", ["setup-dev", "test", "faults", "gpu"])
def test_development_goals_install_the_development_tools_once(tree: Tree, goal: str) -> None:
    tree.add_python()
    assert tree.make(goal).returncode == 0
    assert tree.done()[:2] == ["venv by 3.11", INSTALLED_DEV]
    assert tree.make(goal).returncode == 0
    assert not [line for line in tree.done() if "pip install" in line]


def test_help_lists_every_target(tree: Tree) -> None:
    made = tree.make()
    assert made.returncode == 0
    for target in ("run", "test", "setup", "setup-dev", "clean"):
        assert f"make {target} " in made.stdout


def test_clean_keeps_the_runs(tree: Tree) -> None:
    for tool in ("find", "sh"):
        (tree.path / tool).unlink(missing_ok=True)
        (tree.path / tool).symlink_to(str(shutil.which(tool)))
    for kept in ("runs/first", "launcher", "jobs", "tests", ".venv", ".mypy_cache"):
        (tree.directory / kept).mkdir(parents=True)
    assert tree.make("clean").returncode == 0
    assert (tree.directory / "runs/first").exists()
    assert not (tree.directory / ".venv").exists()
    assert not (tree.directory / ".mypy_cache").exists()
