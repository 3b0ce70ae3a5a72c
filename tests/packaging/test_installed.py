"""`pip install .` into another environment: the launcher runs from any folder, without the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT_FROM = ("pyproject.toml", "README.md", "requirements.txt", "launcher", "jobs")
CLUSTER = "job: linear_regression\ncluster: {worker: 2}\n"
HELLO = "job: hello\ncluster: {worker: 1}\nrun: {network: host}\n"


class Installed:
    """An environment into which the project was installed, and a folder to use it from."""

    def __init__(self, directory: Path) -> None:
        self.environment = directory / "environment"
        self.folder = directory / "a folder"
        self.folder.mkdir()

    def run(self, program: str, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [self.environment / "bin" / program, *arguments],
            cwd=self.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def write(self, text: str) -> None:
        (self.folder / "cluster.yaml").write_text(text)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    directory = tmp_path_factory.mktemp("packaging")
    made = Installed(directory)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made.environment], check=True, timeout=60)
    (site_packages,) = made.environment.glob("lib/python3*/site-packages")
    # What this environment has, TensorFlow included, is not installed again. Of a path in a .pth file Python reads no
    # .pth files, so that an editable install here does not put the checkout on the path there.
    (site_packages / "of_the_tests.pth").write_text("\n".join(entry for entry in sys.path if "-packages" in entry))
    source = copy_of_the_checkout(directory / "source")
    options = ["--no-deps", "--no-build-isolation", "--ignore-installed", "--no-index", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--python", str(made.environment / "bin" / "python")]
    subprocess.run([*pip, "install", *options, str(source)], check=True, timeout=120)
    shutil.rmtree(source)
    return made


def copy_of_the_checkout(target: Path) -> Path:
    """Copy what a package is built from: building writes into its folder."""
    target.mkdir()
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    return target


def test_the_checkout_is_not_on_the_path(installed: Installed) -> None:
    found = "find_spec(name).origin for name in ('launcher', 'jobs.hello')"
    code = f"import json, sys; from importlib.util import find_spec; print(json.dumps([*sys.path, *({found})]))"
    *path, launcher, job = json.loads(installed.run("python", "-c", code).stdout)
    assert str(ROOT) not in path
    assert all(Path(file).is_relative_to(installed.environment) for file in (launcher, job))


def test_every_file_of_the_packages_is_installed(installed: Installed) -> None:
    (site_packages,) = installed.environment.glob("lib/python3*/site-packages")
    for package in ("launcher", "jobs"):
        files = {file.relative_to(ROOT) for file in (ROOT / package).rglob("*") if file.is_file()}
        there = {file.relative_to(site_packages) for file in (site_packages / package).rglob("*") if file.is_file()}
        assert {file for file in files if file.suffix != ".pyc"} == {file for file in there if file.suffix != ".pyc"}


def test_help_is_printed(installed: Installed) -> None:
    asked = installed.run("launcher", "--help")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "launcher [OPTIONS] VERB" in asked.stdout


def test_a_bundled_job_is_planned(installed: Installed) -> None:
    installed.write(CLUSTER)
    planned = installed.run("launcher", "plan")
    assert (planned.returncode, planned.stderr) == (0, "")
    assert "job linear_regression" in planned.stdout


def test_a_bundled_job_checks_its_settings_against_its_points(installed: Installed) -> None:
    installed.write(CLUSTER)
    checked = installed.run("launcher", "check", "--set", "args.batch_size=18")
    assert checked.returncode == 2
    assert "must be at most 17" in checked.stdout + checked.stderr


def test_the_schema_of_the_cluster_file_is_printed(installed: Installed) -> None:
    assert json.loads(installed.run("launcher", "config", "schema").stdout)


def test_a_run_trains(installed: Installed) -> None:
    installed.write(HELLO)
    run = installed.run("launcher", "run")
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    assert "worker:0 CPU:0: 2 + 3 = 5" in run.stdout
    assert (installed.folder / "runs" / "latest" / "result.json").is_file()
