"""A start that is refused leaves everything as it was."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from launcher.cli import main
from tests.support.workplace import Workplace


def tree(directory: Path) -> dict[str, str]:
    """Return everything below a directory: where links point, what files hold."""

    def held(path: Path) -> str:
        return str(path.readlink()) if path.is_symlink() else "" if path.is_dir() else path.read_text()

    return {str(path.relative_to(directory)): held(path) for path in directory.rglob("*")}


REFUSALS: dict[str, tuple[str, ...]] = {
    "a setting": ("--set", "run.restarts=many"),
    "a job": ("--set", "job=nowhere"),
    "an option": ("--nothing",),
    "a task": ("--task", "worker:7"),
    "a new output": ("--set", "run.output=deep/runs", "--task", "worker:7"),
    "a run that is not there": ("--resume", "yesterday"),
    "a damaged plan": ("--plan", "runs/old/plan.json"),
    "a run with a damaged plan": ("--resume", "old"),
    "a run in use": ("--run", "night"),
    "an output that is a file": ("--set", "run.output=cluster.yaml"),
    "latest that is a directory": ("--set", "run.output=other"),
    "a name": ("--run", "latest"),
}


@pytest.mark.parametrize("arguments", REFUSALS.values(), ids=REFUSALS)
def test_a_refused_start_leaves_everything_as_it_was(
    workplace: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    workplace.write(job="hello", args={}, cluster={"worker": 1}, run={"start_method": "spawn"})
    monkeypatch.delenv("LAUNCHER_READY_FILE", raising=False)
    monkeypatch.chdir(workplace.directory)
    monkeypatch.setattr(sys, "argv", ["launcher", "run", *arguments])
    runs, lock = workplace.directory / "runs", workplace.directory / "runs" / "night" / "locks" / "worker-0.lock"
    (workplace.directory / "other" / "latest").mkdir(parents=True)
    (runs / "old").mkdir(parents=True)
    (runs / "old" / "plan.json").write_text('{"direct')
    (runs / "latest").symlink_to("old")
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": "today"}))
    before = tree(workplace.directory)
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(SystemExit) as end:  # before anything is started: in this process
            main()
    said = "".join(capfd.readouterr())
    assert end.value.code == 2, said
    assert said
    assert tree(workplace.directory) == before
