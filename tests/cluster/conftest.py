"""Real clusters: the launcher as a user starts it, TensorFlow processes, TensorFlow's own gRPC between them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PATIENCE = 150  # seconds; no run of these tests takes a third of it
LOOK_EVERY = 0.05  # seconds
# A job of a user's own, in a script; ``evaluate`` is a line of Python.
JOB = """
import tensorflow as tf
from dataclasses import dataclass
from launcher.runtime.job import Job

@dataclass(frozen=True)
class Settings:
    rate: float = 0.5

class Mine(Job):
    Config = Settings

    def build(self):
        self.steps = 4
        self.v = tf.Variable(0.0, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def dataset(self, shard):
        return tf.data.Dataset.from_tensors(1.0).repeat()

    def train_step(self, batch):
        self.v.assign_add(self.sum_over_replicas(batch))
        return {{}}

    def evaluate(self):
        {evaluate}
"""
# The regression, but whoever trains stands still at a report for as long as a file named hold lies beside it.
HOLDING = f"""
import time
from jobs.linear_regression.job import LinearRegression

class Holding(LinearRegression):
    def evaluate(self):
        while self.context.role != "evaluate" and (self.directory / "hold").exists():
            time.sleep({LOOK_EVERY})
        return super().evaluate()
"""


@dataclass(frozen=True)
class Ran:
    """A launcher's run that is over."""

    code: int
    output: str
    directory: Path  # where the cluster file lies

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


class Workplace:
    """A directory with a cluster file, and the launcher to run it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[subprocess.Popen[str]] = []

    def write(self, **content: Any) -> None:
        """Write cluster.yaml: a small regression on two workers, with these keys on top."""
        base = {"name": "test", "job": "linear_regression", "args": {"epochs": 2}, "cluster": {"worker": 2}}
        (self.directory / "cluster.yaml").write_text(yaml.safe_dump(base | content))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the launcher and return it; what it prints comes through its stdout."""
        process = subprocess.Popen(
            [sys.executable, "-m", "launcher", *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
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

    @property
    def hold(self) -> Path:
        """The file that the job holding.py stands still for; not there until it is touched."""
        (self.directory / "holding.py").write_text(HOLDING)
        return self.directory / "hold"

    def await_ready(self, task: str, attempt: int) -> None:
        """Wait until this task's process of this attempt is ready."""
        events = self.directory / "runs" / "latest" / "events.jsonl"
        wanted = {"task": task, "attempt": attempt, "state": "ready"}
        while not any(wanted.items() <= json.loads(line).items() for line in events.read_text().splitlines()):
            time.sleep(LOOK_EVERY)

    def run(self, *arguments: str, **content: Any) -> Ran:
        """Write the cluster file, run it to the end."""
        self.write(**content)
        return self.finish(self.start("run", *arguments))


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """Return what the launcher printed, up to the line with this word."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return "".join(lines)
    raise AssertionError(f"{word!r} never came:\n{''.join(lines)}")


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def task_process(launcher: subprocess.Popen[str], task: str) -> psutil.Process:
    """Return the process of this launcher's task, as soon as there is one."""
    while launcher.poll() is None:
        for process in descendants(launcher):
            if _context(process).startswith(f'{{"task": "{task}"'):
                return process
        time.sleep(LOOK_EVERY)
    raise AssertionError(f"the launcher has ended, and {task} was not there")


def survivors(directory: Path) -> list[psutil.Process]:
    """Return every process, of whatever attempt, that is a task of a run in this directory."""
    return [process for process in psutil.process_iter() if str(directory) in _context(process)]


def _context(process: psutil.Process) -> str:
    try:
        return process.environ().get("LAUNCHER_TASK", "")
    except psutil.Error:  # it has just ended, or is somebody else's
        return ""


def all_gone(processes: list[psutil.Process]) -> bool:
    """Whether these processes have ended; waits for the kernel to say so."""
    return not psutil.wait_procs(processes, timeout=20)[1]


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    for process in place.started:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def shared_workplace(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Workplace]:
    """Return a function that makes workplaces for runs that several tests look at."""
    return lambda: Workplace(tmp_path_factory.mktemp("run"))
