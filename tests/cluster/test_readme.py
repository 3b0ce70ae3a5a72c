"""The README is true: its commands run, its files are right."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.cli import VERBS
from launcher.errors import SpecError
from launcher.plan.placement import place_file
from launcher.spec.file import load
from launcher.terminal.device_map import device_map
from tests.unit.plan.test_placement_machines import machine

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


def run(command: str, directory: Path, patience: float = 170) -> str:
    """Run a command as a user who has .venv/bin on PATH, for so many seconds at most; return what it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # Under `make test` a user's make would take itself for a part of it, and say so.
    outer = ("MAKE", "MFLAGS", "MODE", "FILE", "ARGS")
    own = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    done = subprocess.run(
        command,
        shell=True,
        cwd=directory,
        env={**own, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the committed cluster file, the README's job and its cluster file."""
    directory = tmp_path_factory.mktemp("readme")
    (directory / "docker").mkdir()
    shutil.copy(ROOT / "cluster.yaml", directory)
    (directory / "train.py").write_text(blocks("python")[0])
    (directory / "mean.yaml").write_text(next(block for block in blocks("yaml") if block.startswith("# mean.yaml")))
    return directory


@pytest.mark.parametrize(("command", "tolerance"), [("make run", 1e-4), ("make run MODE=async", 5e-3)])
def test_make_run_reaches_the_truth_and_leaves_the_run_directory(command: str, tolerance: float) -> None:
    assert command in COMMANDS
    printed = run(command, ROOT)
    directory = ROOT / printed.rpartition("run directory: ")[2].strip()
    result = json.loads((directory / "result.json").read_text())
    assert result["metrics"]["W"] == pytest.approx(0.2516349, abs=tolerance)
    assert result["metrics"]["b"] == pytest.approx(0.7988012, abs=tolerance)
    assert {"linear_train.png", "linear_test.png", "cost.png", "model"} <= {path.name for path in directory.iterdir()}
    assert result["steps"] == 17_000
    shutil.rmtree(directory)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("launcher")])
def test_each_command_of_the_tour_and_of_the_own_job_runs(command: str, workplace: Path) -> None:
    printed = run(command, workplace)
    if command.startswith("launcher run mean.yaml"):
        assert "mean 4.5" in printed


def test_the_readme_shows_every_verb_and_every_make_goal_that_it_needs() -> None:
    verbs = {command.split()[1] for command in COMMANDS if command.startswith("launcher")}
    assert verbs == set(VERBS)
    assert {command for command in COMMANDS if command.startswith("make")} == {
        "make run",
        "make run MODE=async",
        "make compose",  # these two run in tests/docker
        "make compose MODE=async",
    }


def test_the_cluster_file_of_the_readme_means_what_the_committed_one_does(tmp_path: Path) -> None:
    shown = tmp_path / "cluster.yaml"
    shown.write_text(next(block for block in blocks("yaml") if block.startswith("name: linear-regression")))
    assert load(shown).spec == load(ROOT / "cluster.yaml").spec


def test_the_map_of_the_house_names_what_is_there() -> None:
    for name in (
        "launcher/cli.py",
        "launcher/commands",
        "launcher/rundir.py",
        "launcher/cluster",
        "launcher/supervise",
        "launcher/render",
        "launcher/runtime",
        "docker/compose.yaml",
        "tests/docker",
    ):
        assert (ROOT / name).exists()


def test_the_problems_that_the_readme_shows_are_the_ones_a_user_gets(tmp_path: Path) -> None:
    content = "job: hello\n\ncluster:\n\n  worker:\n\n    taks: 2\nrun:\n  start_timeout: 60"
    (tmp_path / "cluster.yaml").write_text(content)
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "cluster.yaml")
    told = str(caught.value).replace(f"{tmp_path}/", "")
    assert told in README


@pytest.mark.parametrize(
    ("name", "gpus", "strategy", "communication"),
    [
        ("four-gpus", 4, "MirroredStrategy", "NCCL"),
        ("eight-gpus", 8, "MultiWorkerMirroredStrategy", "NCCL"),
        ("one-gpu", 1, "MultiWorkerMirroredStrategy", "RING"),
    ],
)
def test_the_files_for_machines_with_gpus_mean_what_the_readme_says(
    tmp_path: Path, name: str, gpus: int, strategy: str, communication: str
) -> None:
    (tmp_path / "cluster.yaml").write_text(next(b for b in blocks("yaml") if b.startswith(f"# {name}.yaml")))
    there = machine(gpus, cores=128, sockets=2 if gpus == 8 else 1)
    plan = place_file(load(tmp_path / "cluster.yaml"), there)
    assert (plan.strategy, plan.communication) == (strategy, communication)
    assert {gpu for task in plan.tasks for gpu in task.gpus} == set(range(gpus))
    if name == "eight-gpus":
        assert "\n".join(device_map(plan, there)) in README
