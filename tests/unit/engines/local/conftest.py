"""A launch of small real processes instead of TensorFlow tasks."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.contract.task import Task
from launcher.engines.local.run import LocalRun
from launcher.host.inventory import Core, Inventory
from launcher.host.ports import free_ports
from launcher.plan.placement import place
from launcher.rundir import RunFiles
from launcher.spec.model import ClusterSpec

PROGRAM = Path(__file__).parent / "programs" / "task.py"


class Watched:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.on_line: Callable[[str], None] = lambda _: None
        self.on_note: Callable[[str], None] = lambda _: None

    def line(self, task: Task, text: str) -> None:
        self.lines.append((str(task), text))
        self.on_line(text)

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.on_note(text)

    def progress(self, progress: Mapping[str, Any]) -> None:
        pass

    def of(self, task: str) -> list[str]:
        return [text for name, text in self.lines if name == task]


def nobody_reads(_: str) -> None:
    """As a screen's ``on_line`` or ``on_note``: there is no screen any more."""
    raise BrokenPipeError


def spawner_of_this_process() -> psutil.Process:
    (spawner,) = (p for p in psutil.Process().children() if "launcher.engines.local.spawner" in p.cmdline())
    return spawner


def result(files: RunFiles) -> Mapping[str, Any]:
    """Return what a run has written of its end."""
    read: Mapping[str, Any] = json.loads(files.result.read_text())
    return read


MakeLaunch = Callable[..., tuple[LocalRun, RunFiles, Watched]]


@pytest.fixture(autouse=True)
def nobody_asks_for_a_ready_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may themselves run below a launcher that shows when it is ready."""
    monkeypatch.delenv("LAUNCHER_READY_FILE", raising=False)


@pytest.fixture
def make_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeLaunch:
    """Return a function that prepares a launch of so many tasks, which do what the words say.

    ``cluster`` makes the cluster an asynchronous one; ``only`` launches one task of it; ``files`` shares a directory.
    """
    monkeypatch.setattr("launcher.supervise.restarts._FIRST", 0.01)  # nothing here gets better by waiting

    def make(
        *words: str,
        workers: int = 1,
        cluster: Mapping[str, object] | None = None,
        only: str = "",
        files: RunFiles | None = None,
        args: Mapping[str, object] | None = None,
        **run: object,
    ) -> tuple[LocalRun, RunFiles, Watched]:
        raw = {
            "job": "hello",
            "args": args or {},
            "mode": "async" if cluster else "sync",
            "cluster": cluster or {"worker": {"tasks": workers}},
            "run": {"network": "host", **run},
        }
        spec = ClusterSpec.model_validate(raw)
        plan = place(spec, Inventory("here", (Core(0, 0),), (), "", free_ports(workers + 4)), str(tmp_path))
        files, screen = files or RunFiles.create(tmp_path / "runs", "test"), Watched()
        command = (sys.executable, str(PROGRAM), *words)
        here = [task for task in plan.tasks if only in ("", str(task.task))]
        launch = LocalRun(plan, here, files, screen, network="host", began=time.monotonic(), command=command)
        return launch, files, screen

    return make
