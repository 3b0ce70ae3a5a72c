"""Training on one device in this process: which steps make one call, and what happens between calls."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from launcher.contract.context import CheckpointPolicy, TaskContext
from launcher.contract.history import folded
from launcher.errors import LauncherError
from launcher.rundir import RunFiles
from launcher.runtime.job import Job, Metrics, Shard
from launcher.runtime.reporter import Reporter
from launcher.runtime.training.stop import Stop
from launcher.runtime.training.sync import SyncTrainer
from tests.unit.runtime.conftest import task_context

NEVER = CheckpointPolicy(every_seconds=None, every_steps=10**9)


class Counting(Job):
    """Sums up the numbers 0, 1, 2, … that its dataset draws, one a step."""

    steps = 10
    steps_per_call = 4

    def build(self) -> None:
        self.evaluated: list[int] = []
        self.total = tf.Variable(0, dtype=tf.int64)
        self.seen = tf.Variable(0, dtype=tf.int64)

    def dataset(self, shard: Shard) -> tf.data.Dataset:
        return tf.data.Dataset.counter()

    def train_step(self, batch: Any) -> Metrics:
        self.total.assign_add(batch)
        self.seen.assign_add(1)
        return {"last": batch}

    def evaluate(self) -> Metrics:
        self.evaluated.append(int(self.seen.numpy()))
        return {"total": self.total}


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    """Trainers take SIGTERM; afterwards it is as before."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def trainer(
    directory: Path, policy: CheckpointPolicy = NEVER, task: str = "worker:0", step: int = 0, **job: Any
) -> SyncTrainer:
    context = task_context(task, directory, checkpoint=policy)
    counting = Counting(None, context)
    for name, value in job.items():
        setattr(counting, name, value)
    there = made(counting, context)
    there.prepare(step)
    return there


def made(job: Job, context: TaskContext) -> SyncTrainer:
    stop = Stop()
    stop.listen()
    return SyncTrainer(job, tf.distribute.OneDeviceStrategy("/cpu:0"), context, Reporter(context), stop)


def steps(trainer: SyncTrainer) -> list[int]:
    """The steps at which a call ended: each has its report."""
    return [record["step"] for record in trainer.reporter.history]


def saved(trainer: SyncTrainer) -> list[int]:
    """The steps of the checkpoints that are there."""
    return [there.step for there in trainer.checkpoints.files.saved()]


def by_steps(every: int, keep: int = 100) -> CheckpointPolicy:
    return CheckpointPolicy(every_seconds=None, every_steps=every, keep=keep)


# Calls


@pytest.mark.parametrize(
    ("job", "ends"),
    [
        ({}, [4, 8, 10]),
        ({"steps_per_call": 5}, [5, 10]),
        ({"steps_per_call": 100}, [10]),
        ({"steps_per_call": 1, "steps": 3}, [1, 2, 3]),
        ({"report_every": 3}, [3, 6, 9, 10]),
        ({"report_every": 6}, [4, 6, 10]),
        ({"steps": 0}, []),
    ],
)
def test_a_call_ends_after_steps_per_call_at_a_report_and_at_the_end(
    tmp_path: Path, job: dict[str, Any], ends: list[int]
) -> None:
    there = trainer(tmp_path, **job)
    figures = there.train()
    assert steps(there) == ends
    assert figures == {"total": sum(range(there.job.steps))}


def test_a_call_ends_where_a_checkpoint_is_due(tmp_path: Path) -> None:
    there = trainer(tmp_path, by_steps(3))
    there.train()
    assert steps(there) == [3, 6, 9, 10]
    assert saved(there) == [3, 6, 9, 10]


def test_checkpoints_by_time_are_written_at_the_end_of_the_call_that_they_fall_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = trainer(tmp_path)
    monkeypatch.setattr(there.checkpoints, "due", lambda step: step == 8)
    there.train()
    assert saved(there) == [8, 10]


def test_the_last_step_is_always_a_checkpoint_and_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = tf.train.Checkpoint.write

    def watched(self: tf.train.Checkpoint, path: str, options: tf.train.CheckpointOptions) -> str:
        written.append(path)
        return write(self, path, options)

    monkeypatch.setattr(tf.train.Checkpoint, "write", watched)
    trainer(tmp_path, by_steps(5)).train()
    assert [Path(path).parent.name.split(".")[1] for path in written] == ["step-5", "step-10"]


def test_the_step_is_traced_once_however_long_the_calls_are(tmp_path: Path) -> None:
    there = trainer(tmp_path, report_every=3)
    there.train()
    assert there._call.experimental_get_tracing_count() == 1


# Reports


def test_each_call_reports_the_figures_of_its_last_step(tmp_path: Path) -> None:
    there = trainer(tmp_path)
    there.train()
    assert [record["last"] for record in there.reporter.history] == [3, 7, 9]


def test_an_evaluation_happens_where_the_job_asks_for_one_and_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = trainer(tmp_path, report_every=6)
    there.train()
    assert there.job.evaluated == [6, 10]
    assert [record.get("total") for record in there.reporter.history] == [None, 15, 45]
    assert capsys.readouterr().out.count("\n") == 2


def test_only_the_leader_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = trainer(tmp_path, task="worker:1")
    assert there.train() == {"total": 45}
    assert capsys.readouterr().out == ""
    assert not RunFiles(tmp_path).metrics.exists()
    assert saved(there) == []


# Stop and resume


def test_a_trainer_that_was_only_made_builds_restores_and_writes_nothing(tmp_path: Path) -> None:
    context = task_context(directory=tmp_path)
    there = made(Counting(None, context), context)
    assert not hasattr(there.job, "total")
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_is_asked_to_stop_ends_after_the_present_call(tmp_path: Path) -> None:
    there = trainer(tmp_path)
    signal.raise_signal(signal.SIGTERM)
    assert there.train() is None
    assert there.step == 4


def test_a_resumed_training_skips_the_data_that_it_has_seen_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    first = trainer(tmp_path, by_steps(4))
    signal.raise_signal(signal.SIGTERM)
    first.train()
    second = trainer(tmp_path, by_steps(4), step=4)
    assert second.train() == {"total": 45}
    assert [record["step"] for record in second.reporter.history] == [4, 8, 10]


def test_a_training_resumes_from_the_step_that_it_is_given_and_not_from_the_newest(tmp_path: Path) -> None:
    trainer(tmp_path, by_steps(4)).train()
    again = trainer(tmp_path, by_steps(4), step=4)
    assert (again.step, int(again.job.seen.numpy())) == (4, 4)
    assert again.train() == {"total": 45}
    assert steps(again) == [4, 8, 10]


def test_a_training_at_step_0_begins_anew_whatever_checkpoints_there_are(tmp_path: Path) -> None:
    trainer(tmp_path, by_steps(4)).train()
    again = trainer(tmp_path, by_steps(4))
    assert (again.step, int(again.job.seen.numpy()), again.reporter.history) == (0, 0, [])


def test_a_step_without_its_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=r"holds no checkpoint of step 4 to resume from$"):
        trainer(tmp_path, step=4)


def test_what_was_reported_after_the_checkpoint_is_reported_anew(tmp_path: Path) -> None:
    first = trainer(tmp_path, by_steps(8), steps=8)
    first.train()
    metrics = RunFiles(tmp_path).metrics
    with metrics.open("a") as file:
        file.write(json.dumps({"step": 9, "task": "worker:0"}) + "\n")
    job = Counting(None, context := task_context("worker:0", tmp_path, checkpoint=by_steps(8), attempt=2))
    again = made(job, context)
    again.prepare(8)
    again.train()
    assert [record["step"] for record in again.reporter.history] == [4, 8, 10]
    lines = list(map(json.loads, metrics.read_text().splitlines()))
    assert [line["step"] for line in lines] == [4, 8, 9, 10]
    assert folded(lines) == again.reporter.history
    assert again._trained_before == (4, lines[1]["time"] - lines[0]["time"])


def test_a_training_that_is_over_is_only_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path).train()
    again = trainer(tmp_path, step=10)
    assert again.train() == {"total": 45}
    assert again.job.evaluated == [10]
    assert "resumed at step 10 of 10" in capsys.readouterr().out


def test_an_evaluation_without_figures_happens_once(tmp_path: Path) -> None:
    class Silent(Counting):
        def evaluate(self) -> Metrics:
            super().evaluate()
            return {}

    job = Silent(None, context := task_context(directory=tmp_path))
    there = made(job, context)
    there.prepare(0)
    assert there.train() == {}
    assert job.evaluated == [10]


# What a job returns


def test_steps_and_evaluations_may_return_nothing(tmp_path: Path) -> None:
    class Mute(Counting):
        def train_step(self, batch: Any) -> Metrics:
            super().train_step(batch)
            return None  # type: ignore[return-value]

        def evaluate(self) -> Metrics:
            return None  # type: ignore[return-value]

    there = made(Mute(None, context := task_context(directory=tmp_path)), context)
    there.prepare(0)
    assert there.train() == {}
    assert steps(there) == [4, 8, 10]


@pytest.mark.parametrize("method", ["train_step", "evaluate"])
def test_what_has_no_names_is_refused_in_a_sentence(tmp_path: Path, method: str) -> None:
    class Nameless(Counting):
        pass

    setattr(Nameless, method, lambda *_: tf.constant(0.5))
    there = made(Nameless(None, context := task_context(directory=tmp_path)), context)
    there.prepare(0)
    with pytest.raises(LauncherError, match=rf"^the job's {method}\(\) returns EagerTensor: it must return"):
        there.train()


def test_a_job_may_count_its_steps_with_numpy(tmp_path: Path) -> None:
    there = trainer(tmp_path, steps=np.int64(10), report_every=np.int64(5))
    there.train()
    lines = list(map(json.loads, RunFiles(tmp_path).metrics.read_text().splitlines()))
    assert [line["step"] for line in lines] == [4, 5, 9, 10]


# Speed


def test_speed_leaves_the_first_call_out_unless_it_was_the_only_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    there = trainer(tmp_path)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    there._began = there._last_call = 0.0, 0
    assert there.steps_per_second() == 0
    for now[0], step, speed in ((8.0, 4, 0.5), (10.0, 8, 2.0), (20.0, 10, 0.5)):
        there._reached(step, {}, {})
        assert there.steps_per_second() == speed
    now[0] = 1000.0  # whatever comes after training does not count
    assert there.steps_per_second() == 0.5
