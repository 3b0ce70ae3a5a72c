"""A directory with a cluster file, the launcher as a user starts it there, and what a run that is over has left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml

from tests.support.jobs import HOLDING, LOOK_EVERY

ROOT = Path(__file__).parents[2]
PATIENCE = 150  # seconds; no run of these tests takes a third of it


@dataclass(frozen=True)
class Ran:
    """A launcher's run that is over."""

    code: int
    output: str
    directory: Path  # the one that holds the cluster file

    @property
    def files(self) -> Path:
        return self.directory / "runs" / "latest"

    @property
    def result(self) -> Mapping[str, Any]:
        value: Mapping[str, Any] = json.loads((self.files / "result.json").read_text())
        return value

    @property
    def metrics(self) -> Mapping[str, Any]:
        assert self.code == 0, self.output
        value: Mapping[str, Any] = self.result["metrics"]
        return value

    @property
    def logs(self) -> set[str]:
        """Every log there is, as ``<attempt>/<task>``."""
        return {f"{log.parent.name}/{log.stem}" for log in (self.files / "logs").glob("*/*.log")}

    @property
    def last(self) -> str:
        """The last line on the screen."""
        return self.output.rstrip().splitlines()[-1]

    def said_by(self, task: str) -> list[str]:
        """Return the lines of this task on the screen."""
        parts = [line.partition("│") for line in self.output.splitlines()]
        return [text.removeprefix(" ") for name, bar, text in parts if bar and name.strip() == task]

    def reports(self, task: str) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl that this task wrote, in the order of time."""
        return [record for record in records(self.files / "metrics.jsonl") if record["task"] == task]

    def events(self, state: str) -> list[dict[str, Any]]:
        """Return the lines of events.jsonl with this state."""
        return [record for record in records(self.files / "events.jsonl") if record["state"] == state]

    @property
    def placed(self) -> dict[str, Any]:
        """The cores and GPUs that each task has proved to have, by its name."""
        return {event["task"]: event["details"] for event in self.events("placed")}


def records(file: Path) -> list[dict[str, Any]]:
    """Return what each line of the file holds, but for a last one that is being written."""
    return [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]


class Workplace:
    """A directory with a cluster file, and the launcher to run it; as a context it ends what is still running."""

    command: Sequence[str] = (sys.executable, "-m", "launcher")
    settings: ClassVar[Mapping[str, Any]] = {}  # of the cluster file's run, unless a test has others

    def __init__(self, directory: Path, **environment: str) -> None:
        """``environment`` is given to the launcher on top of this process's own."""
        self.directory = directory
        self.environment = {"PYTHONPATH": str(ROOT), **environment}
        self.started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End every launcher that is still running."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def write(self, **content: Any) -> None:
        """Write cluster.yaml: a small regression on two workers, with these keys on top."""
        base = {"name": "test", "job": "linear_regression", "args": {"epochs": 2}, "cluster": {"worker": 2}}
        run = {**self.settings, **content.get("run", {})}
        (self.directory / "cluster.yaml").write_text(yaml.safe_dump(base | content | ({"run": run} if run else {})))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the launcher and return it; what it prints comes through its stdout."""
        process = subprocess.Popen(
            [*self.command, *arguments],
            cwd=self.directory,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], seen: str = "") -> Ran:
        """Wait for a launcher's end; ``seen`` is what was read of its output before."""
        output, _ = process.communicate(timeout=PATIENCE)
        return Ran(process.returncode, seen + output, self.directory)

    def run(self, *arguments: str, **content: Any) -> Ran:
        """Write the cluster file, run it to the end."""
        self.write(**content)
        return self.finish(self.start("run", *arguments))

    @property
    def hold(self) -> Path:
        """The file that the job holding.py waits for to be removed; not there until it is touched."""
        (self.directory / "holding.py").write_text(HOLDING)
        return self.directory / "hold"

    def await_ready(self, task: str, attempt: int) -> None:
        """Wait until this task's process of this attempt is ready."""
        events = self.directory / "runs" / "latest" / "events.jsonl"
        wanted = {"task": task, "attempt": attempt, "state": "ready"}
        while not any(wanted.items() <= record.items() for record in records(events)):
            time.sleep(LOOK_EVERY)


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """Return what the launcher printed, up to the line with this word."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return "".join(lines)
    raise AssertionError(f"{word!r} never came:\n{''.join(lines)}")
