"""A directory with a cluster file, an engine that only pretends, and ``launcher run --on compose`` in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launcher import cli
from launcher.commands.train import run as module
from launcher.rundir import RunFiles
from tests.unit.engines.compose.fake_docker import FakeDocker
from tests.unit.engines.compose.made import machine_with

FILE = "job: hello\nname: demo\ncluster: {worker: {tasks: 2, gpus: 0}, ps: 1}\nrun: {restarts: 3}\n"
DONE = {
    "status": "done", "exit_code": 0, "mode": "sync", "strategy": "MultiWorkerMirroredStrategy",
    "communication": "RING", "reason": "2 tasks take each step together", "world_size": 2,
    "steps": 340, "metrics": {"loss": 0.25}, "attempts": 1, "wall_s": 7.4, "time_to_first_step_s": 3.0,
    "steps_per_s": 100.0, "cause": None, "left_out": [], "resumed": None, "updates": None,
}  # fmt: skip
CAUSE = {"task": "worker:0", "error": "ValueError: no", "file": "errors/attempt-1/worker-0.json"}
FAILED = {**DONE, "status": "failed", "exit_code": 1, "cause": CAUSE}


@dataclass(frozen=True)
class Called:
    """How the launcher ended, and what it printed."""

    code: int
    out: str
    error: str


class Place:
    """A directory with a cluster file, an engine, and the launcher's command line."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.docker = FakeDocker(directory, monkeypatch)
        self._monkeypatch, self._capsys = monkeypatch, capsys
        for key in ("LAUNCHER_RUN", "LAUNCHER_DIRECTORY", "LAUNCHER_SET"):
            monkeypatch.delenv(key, raising=False)
        monkeypatch.setattr(module, "take", lambda _: machine_with((0, 1)))
        self.directory = directory / "here"
        self.directory.mkdir()
        (self.directory / "cluster.yaml").write_text(FILE)
        monkeypatch.chdir(self.directory)

    def call(self, *arguments: str) -> Called:
        self._monkeypatch.setattr(sys, "argv", ["launcher", "run", "--on", "compose", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said, code = self._capsys.readouterr(), ended.value.code or 0
        assert isinstance(code, int)
        return Called(code, said.out, said.err)

    def refused(self, *arguments: str) -> str:
        """Return the sentence; nothing is left of the attempt."""
        called = self.call(*arguments)
        assert (called.code, called.out, Path("runs").exists()) == (2, "", False)
        return called.error.rstrip("\n")

    def ends(self, result: Mapping[str, Any], code: int = 0, more: str = "") -> None:
        """Let both containers end at once, and the leader's launcher leave this result."""
        self.docker.container("worker:0", code=code)
        self.docker.container("worker:1", code=code)
        (self.docker.world / "result.json").write_text(json.dumps(result))
        self.docker.does("compose up", f"cp up/* containers/; cp result.json '{self.directory}/runs/latest/'; {more}")

    @property
    def files(self) -> RunFiles:
        return RunFiles((self.directory / "runs" / "latest").resolve())

    @property
    def result(self) -> Mapping[str, Any]:
        found = self.files.read_result()
        assert found is not None
        return found
