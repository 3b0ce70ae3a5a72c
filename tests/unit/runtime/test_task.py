"""Tasks in this process: what an evaluator scores, and what it tells of it; when it, and a task that serves, ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
import tensorflow as tf

from launcher.contract.context import CheckpointPolicy
from launcher.contract.roles import Role
from launcher.engines.local.report_pipe import ReportPipe
from launcher.errors import LauncherError
from launcher.runtime import task
from launcher.runtime.checkpoint.checkpoints import Checkpoints
from launcher.runtime.job import Job
from launcher.runtime.reporter import Reporter
from launcher.runtime.training.load import load_job
from launcher.runtime.training.stop import Stop
from launcher.runtime.training.sync import SyncTrainer
from tests.unit.runtime.conftest import task_context

SCRIPT = """
import tensorflow as tf
from launcher.runtime.job import Job

class Counting(Job):
    def build(self):
        self.steps, self.steps_per_call = 4, 1
        self.count = tf.Variable(0.0)

    def dataset(self, shard):
        return tf.data.Dataset.from_tensors(0).repeat()

    def train_step(self, batch):
        self.count.assign_add(1.0)

    def evaluate(self):
        return {"count": self.count / (0.0 if self.context.role == "evaluate" and BAD else 1.0)}
"""


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tasks take SIGTERM, and have a thread for heartbeats; here the one is as before afterwards, the other missing."""
    monkeypatch.setattr(task, "_send_heartbeats", lambda _: None)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def write(directory: Path, *, bad: bool = False) -> dict[str, Any]:
    """Write the job; return what a task of it is told."""
    (directory / "train.py").write_text(f"BAD = {bad}\n{SCRIPT}")
    return {"directory": directory, "job": "train.py", "checkpoint": CheckpointPolicy(None, 1, 10)}


def train(told: dict[str, Any], steps: int) -> None:
    """Leave the checkpoints of so many steps."""
    context = task_context(**told)
    job: Job = load_job(context)
    trainer = SyncTrainer(job, tf.distribute.OneDeviceStrategy("/cpu:0"), context, Reporter(context), Stop())
    trainer.prepare(0)
    job.steps = steps
    trainer.train()


def evaluated(told: dict[str, Any], pipe: Path) -> list[dict[str, Any]]:
    """Run an evaluator to its end; return what it has told."""
    reports = ReportPipe(pipe)
    try:
        task.run_task(task_context("evaluator:0", **told, role=Role.EVALUATE, reports=str(pipe)))
    finally:
        heard = list(map(json.loads, reports.close()))
    return heard


def test_an_evaluator_tells_each_phase_and_when_it_waits(tmp_path: Path) -> None:
    told = write(tmp_path)
    train(told, 4)
    heard = evaluated(told, tmp_path / "pipe")
    assert [event.get("phase", event["event"]) for event in heard] == [
        "started",
        "build",  # the job
        "ready",
        "idle",
        "build",  # from the checkpoint
        "evaluate",
        "progress",
        "idle",
    ]
    assert heard[-2]["figures"] == {"count": 4.0}


def test_a_score_that_is_not_a_number_ends_the_evaluator(tmp_path: Path) -> None:
    told = write(tmp_path, bad=True)
    train(told, 2)
    with pytest.raises(LauncherError, match=r"^count is infinite at step 2: "):
        evaluated(told, tmp_path / "pipe")


class Served:
    """The meeting of a task that serves, which is asked to stop, and then hears that the run is over."""

    left_out = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait_for_end(self) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return False


@pytest.mark.parametrize("role", [Role.SERVE, Role.COMPUTE])
def test_a_task_that_serves_does_so_until_the_leader_says_that_the_run_is_over_whoever_asks_it_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role
) -> None:
    monkeypatch.setattr(task, "meeting", lambda *_: Served())
    monkeypatch.setattr(task, "start_server", lambda _: SimpleNamespace(target="grpc://here"))
    assert task.run_task(task_context("ps:0", tmp_path, role=role)) is False


class Obeyed(Exception):
    """Instead of the end of this process."""


def test_an_evaluator_that_is_asked_to_stop_ends_by_the_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = write(tmp_path)

    def none_yet(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def obey(_: Stop) -> None:
        raise Obeyed

    monkeypatch.setattr(Checkpoints, "newest", none_yet)
    monkeypatch.setattr(Stop, "obey", obey)
    with pytest.raises(Obeyed):
        evaluated(told, tmp_path / "pipe")


def test_a_process_that_obeys_ends_as_if_nobody_had_taken_the_signal() -> None:
    code = (
        "import os, signal; from launcher.runtime.training.stop import Stop\n"
        "stop = Stop(); stop.listen(); os.kill(os.getpid(), signal.SIGTERM); print(stop.asked); stop.obey()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("True\n", -signal.SIGTERM)
