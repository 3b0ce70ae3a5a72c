"""A run of two workers in containers that only pretend, and all that it touches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from launcher.engines.compose.containers import containerised
from launcher.engines.compose.docker import Docker
from launcher.engines.compose.image import Image
from launcher.engines.compose.run import ContainerRun, ContainersEnded
from launcher.host.inventory import Core, Inventory
from launcher.plan.placement import place
from launcher.rundir import RunFiles
from launcher.spec.model import ClusterSpec
from tests.unit.engines.compose.fake_docker import FakeDocker
from tests.unit.engines.local.conftest import Watched

IMAGE = Image("launcher:cpu", ["docker", "build", "."])


class Run:
    """One run, its engine and its screen; a test says what its containers do."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.docker, self.screen = FakeDocker(directory, monkeypatch), Watched()
        self.files = RunFiles.create(directory / "runs", "test")
        self.daemon = Docker(("docker", "compose"), rootless=False)

    def make(self, **run: Any) -> ContainerRun:
        content = {"job": "hello", "cluster": {"worker": {"tasks": 2}, "ps": {"tasks": 1}}, "run": run}
        spec = ClusterSpec.model_validate(content)
        plan = containerised(place(spec, Inventory("here", (Core(0),), ports=tuple(range(5000, 5009)))))
        return ContainerRun(plan, self.files, self.daemon, self.screen, os.environ | {"LAUNCHER_RUN": "night"})

    def go(self, **run: Any) -> ContainersEnded:
        return self.make(**run).run(IMAGE)

    def ends(self, first: int = 0, second: int = 0) -> None:
        """Let both containers end like this as soon as they are made."""
        self.docker.container("worker:0", code=first)
        self.docker.container("worker:1", code=second)

    def stays(self) -> None:
        """Let both containers run until they are stopped."""
        self.docker.container("worker:0", "running")
        self.docker.container("worker:1", "running")

    def starts_again(self) -> None:
        """Let the second container be killed at first; once it has started again, both end well."""
        self.docker.container("worker:0", "running")
        self.docker.container("worker:1", code=137)
        self.docker.container("worker:0", place="again")
        self.docker.container("worker:1", started=9, place="again")
        self.docker.does("container start", "cp again/* containers/")

    @property
    def steps(self) -> list[str]:
        """What compose and the image's builder were asked for, in order."""
        words = ("build", "up", "stop", "down")
        return [next(word for word in call.split() if word in words) for call in self.docker.calls
                if set(words) & set(call.split())]  # fmt: skip
