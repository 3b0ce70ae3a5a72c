"""Clusters in containers of a real engine: images that are built here, an internal network, real faults."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.engines.compose.docker import Docker
from launcher.engines.compose.run import project_name
from tests.support.workplace import ROOT, Workplace

SMALL, PROGRAM = Path("tests/support/small/sitecustomize.py"), Path("tests/unit/engines/local/programs/task.py")


def docker(*command: str) -> str:
    """Ask the engine; return what it printed."""
    done = subprocess.run(["docker", *command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Containers(Workplace):
    """A directory with a cluster file, and the launcher that runs it in containers."""

    def write_small(self, *words: str, **run: Any) -> None:
        """Write a cluster of two workers that do what the words say instead of importing TensorFlow."""
        for file in (SMALL, PROGRAM):
            (self.directory / file).parent.mkdir(parents=True)
            shutil.copy(ROOT / file, self.directory / file)
        env = {"PYTHONPATH": f"/cluster/{SMALL.parent}:/app", "LAUNCHER_SMALL_TASK": "\n".join(words)}
        cluster = {"worker": {"tasks": 2, "env": env}}
        self.write(job="hello", args={}, cluster=cluster, run={"start_method": "spawn", **run})

    @property
    def run_directory(self) -> Path:
        return (self.directory / "runs" / "latest").resolve()

    @property
    def project(self) -> str:
        return project_name(self.run_directory)

    def container(self, task: str) -> str:
        """Return the identifier of the container that runs this task."""
        found = docker("ps", "--quiet", *self._filter(), "--filter", f"label=launcher.task={task}").split()
        assert len(found) == 1, task
        return found[0]

    def network(self) -> str:
        (found,) = docker("network", "ls", "--quiet", *self._filter()).split()
        return found

    def left(self) -> list[str]:
        """Return what is left of the last run."""
        return left_of(self.run_directory)

    def end(self) -> None:
        """End every launcher that is still running, and what it or a test by hand has started in the engine."""
        for process in self.started:
            if process.poll() is None:
                process.terminate()  # it removes its containers
                process.communicate(timeout=60)
        if (file := self.directory / "compose.yaml").exists():
            subprocess.run(["docker-compose", "--file", str(file), "down", "--timeout=1"], check=True)

    def _filter(self) -> tuple[str, str]:
        return "--filter", f"label=com.docker.compose.project={self.project}"


def left_of(run_directory: Path) -> list[str]:
    """Return what a run has left in the engine: containers, networks, volumes."""
    kinds = {"container": ["--all"], "network": [], "volume": []}
    mine = ("--filter", f"label=com.docker.compose.project={project_name(run_directory)}")
    return [
        f"{kind} {name}" for kind, more in kinds.items() for name in docker(kind, "ls", "--quiet", *more, *mine).split()
    ]


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """Skip, with the reason, if no engine can be used; on CI that is a failure."""
    try:
        Docker.find()
    except Exception as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    with Containers(tmp_path) as place:
        yield place
