"""A launch of small real processes instead of TensorFlow tasks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from launcher.cluster.context import Task
from launcher.cluster.inventory import Core, Inventory, free_ports
from launcher.cluster.placement import place
from launcher.cluster.spec import ClusterSpec
from launcher.rundir import RunFiles
from launcher.supervise.launch import Launch

PROGRAM = Path(__file__).parent / "programs" / "task.py"


class Watched:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.on_line: Callable[[str], None] = lambda _: None

    def line(self, task: Task, text: str) -> None:
        self.lines.append((str(task), text))
        self.on_line(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, progress: Mapping[str, Any]) -> None:
        pass

    def of(self, task: str) -> list[str]:
        return [text for name, text in self.lines if name == task]


MakeLaunch = Callable[..., tuple[Launch, RunFiles, Watched]]


@pytest.fixture
def make_launch(tmp_path: Path) -> MakeLaunch:
    """Return a function that prepares a launch of so many tasks, which do what the words say."""

    def make(*words: str, workers: int = 1, **run: object) -> tuple[Launch, RunFiles, Watched]:
        raw = {"job": "hello", "cluster": {"worker": {"tasks": workers}}, "run": {"network": "host", **run}}
        spec = ClusterSpec.model_validate(raw)
        plan = place(spec, Inventory("here", (Core(0, 0),), (), "", free_ports(workers + 2)), str(tmp_path))
        files, screen = RunFiles.create(tmp_path / "runs", "test"), Watched()
        command = (sys.executable, str(PROGRAM), *words)
        launch = Launch(plan, plan.tasks, files, screen, network="host", began=time.monotonic(), command=command)
        return launch, files, screen

    return make
