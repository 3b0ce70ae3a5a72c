"""What is saved of a job, who writes it, and when it is due; where its files lie is test_files.py's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from launcher.contract.context import CheckpointPolicy
from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.errors import LauncherError, UsageError
from launcher.runtime.checkpoint.checkpoints import Checkpoints
from launcher.runtime.checkpoint.saved import Saved
from tests.unit.runtime.conftest import task_context

BY_STEPS = CheckpointPolicy(every_seconds=None, every_steps=50, keep=3)


class Model(tf.Module):
    """Two variables, made under the strategy of one device."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
            self.w = tf.Variable([value, value], dtype=tf.float64)
            self.b = tf.Variable(value)

    @property
    def values(self) -> list[float]:
        return [*self.w.numpy().tolist(), float(self.b.numpy())]

    def set(self, value: float) -> None:
        self.w.assign([value, value])
        self.b.assign(value)


def checkpoints(directory: Path, model: Model | None = None, task: str = "worker:0", **changes: Any) -> Checkpoints:
    return Checkpoints(task_context(task, directory, **({"checkpoint": BY_STEPS} | changes)), model or Model())


def steps(there: Checkpoints) -> list[int]:
    return [saved.step for saved in there.files.saved()]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "checkpoints").iterdir())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [1000.0]
    with monkeypatch.context() as context:
        context.setattr("time.monotonic", lambda: now[0])
        yield now


def test_a_model_is_restored_as_it_was_saved(tmp_path: Path) -> None:
    model = Model(1 / 3)
    there = checkpoints(tmp_path, model)
    there.save(7)
    model.set(9.0)
    there.restore(7)
    assert model.values[:2] == [1 / 3, 1 / 3]


@pytest.mark.parametrize("task", ["worker:0", "worker:1"])
def test_every_task_restores_the_step_that_it_is_told(tmp_path: Path, task: str) -> None:
    model = Model()
    there = checkpoints(tmp_path, model)
    for step in (8, 9, 10):
        model.set(float(step))
        there.save(step)
    fresh = Model()
    checkpoints(tmp_path, fresh, task).restore(9)
    assert fresh.values == [9.0] * 3


def test_step_0_is_the_job_as_it_was_built(tmp_path: Path) -> None:
    checkpoints(tmp_path, Model(1.0)).save(5)
    model = Model(2.0)
    checkpoints(tmp_path, model).restore(0)
    assert model.values == [2.0] * 3


def test_a_step_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(5)
    with pytest.raises(LauncherError, match=r"/checkpoints holds no checkpoint of step 6 to resume from$"):
        checkpoints(tmp_path).restore(6)


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    there = checkpoints(tmp_path)
    for step in (1, 2, 3, 4, 1000):
        there.save(step)
    assert names(tmp_path) == ["step-0000000003", "step-0000000004", "step-0000001000"]
    assert steps(there) == [3, 4, 1000]


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_the_checkpoints_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = checkpoints(tmp_path)
    there.save(5)
    with monkeypatch.context() as context:
        context.setattr(tf.train.Checkpoint, "write", full)
        with pytest.raises(LauncherError) as caught:
            there.save(6)
    assert str(caught.value) == (
        "the checkpoint of step 6 cannot be written: No space left on device; the last one is of step 5"
    )
    assert names(tmp_path) == ["step-0000000005"]
    there.save(6)  # it was not saved, so it still may be
    assert steps(there) == [5, 6]


@pytest.mark.parametrize("step", ["tempfile.mkdtemp", "tensorflow.train.Checkpoint.write"])
def test_a_full_disk_where_a_task_that_does_not_lead_writes_its_part_is_a_sentence_that_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    monkeypatch.setattr(step, lambda *_, **__: full())
    with pytest.raises(LauncherError) as caught:
        checkpoints(tmp_path, task="worker:1").save(6)
    assert str(caught.value) == (
        f"this task's share of the checkpoint of step 6 cannot be written to {elsewhere}: No space left on device"
    )
    assert list(elsewhere.iterdir()) == []


def test_a_task_that_does_not_lead_takes_part_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    written: list[str] = []
    write = tf.train.Checkpoint.write

    def watched(self: tf.train.Checkpoint, path: str, options: tf.train.CheckpointOptions) -> str:
        written.append(path)
        return write(self, path, options)

    monkeypatch.setattr(tf.train.Checkpoint, "write", watched)
    checkpoints(tmp_path, task="worker:1").save(5)
    assert len(written) == 1
    assert list(elsewhere.iterdir()) == []
    assert not (tmp_path / "checkpoints").exists()


def test_a_step_that_was_saved_or_restored_is_not_written_again(tmp_path: Path) -> None:
    model = Model(1.0)
    there = checkpoints(tmp_path, model)
    there.save(5)
    there.save(5)
    (saved,) = there.files.saved()
    again = checkpoints(tmp_path, model)
    again.restore(5)
    again.save(5)
    assert again.files.saved() == [saved]  # and not another of the same step


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    class Other(Model):
        def __init__(self) -> None:
            super().__init__()
            self.more = tf.Variable(0.0)

    checkpoints(tmp_path).save(5)
    with pytest.raises(UsageError, match="the checkpoint of step 5 does not fit the job: Found 1 Python objects that"):
        checkpoints(tmp_path, Other()).restore(5)


def test_a_checkpoint_of_other_shapes_is_refused_with_both(tmp_path: Path) -> None:
    wider = Model()
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        wider.b = tf.Variable([0.0, 0.0])
    checkpoints(tmp_path).save(5)
    with pytest.raises(
        UsageError, match=r"does not fit the job: .*shape \(\).*shape \(2,\).*start a new run"
    ) as caught:
        checkpoints(tmp_path, wider).restore(5)
    assert caught.value.exit_code == 2


def test_a_checkpoint_knows_how_many_updates_may_be_in_it_twice(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(5, repeated=3)
    assert checkpoints(tmp_path).restore(5) == 3


def test_who_looks_on_reads_the_newest_whole_checkpoint_and_each_once(tmp_path: Path) -> None:
    writer, model = checkpoints(tmp_path), Model()
    reader = checkpoints(tmp_path, model, task="evaluator:0")
    assert reader.newest(other_than=0) is None
    writer.save(5)
    newest = reader.newest(other_than=0)
    assert newest is not None
    assert newest.step == 5
    assert reader.read_sound(newest)
    assert reader.newest(other_than=5) is None
    writer.save(6)
    newest = reader.newest(other_than=5)
    assert newest is not None
    (data,) = newest.directory.glob("*.data-*")
    data.write_bytes(b"")
    assert not reader.read_sound(newest)


@pytest.mark.parametrize("when", ["before it is read", "while it is read"])
def test_a_checkpoint_that_is_dropped_is_none_for_who_looks_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    writer = checkpoints(tmp_path, checkpoint=CheckpointPolicy(every_seconds=None, every_steps=50, keep=1))
    reader = checkpoints(tmp_path, task="evaluator:0")
    writer.save(5)
    newest = reader.newest(other_than=0)
    assert newest is not None
    read = reader._read

    def later(saved: Saved) -> None:
        writer.save(6)
        read(saved)

    if when == "while it is read":
        monkeypatch.setattr(reader, "_read", later)
    else:
        writer.save(6)
    assert not reader.read_sound(newest)
    assert steps(writer) == [6]


@pytest.mark.parametrize(("task", "left"), [("worker:0", []), ("worker:1", [".step-9.x"])])
def test_the_leader_removes_what_was_half_written(tmp_path: Path, task: str, left: list[str]) -> None:
    half = tmp_path / "checkpoints" / ".step-9.x"
    half.mkdir(parents=True)
    (half / "variables.index").touch()
    checkpoints(tmp_path, task=task).restore(0)
    assert names(tmp_path) == left


@pytest.mark.parametrize(
    ("role", "leader", "device"), [(Role.COORDINATE, "chief", "/job:chief"), (Role.TRAIN, "worker", None)]
)
def test_a_coordinator_alone_writes_what_lies_on_its_ps(
    tmp_path: Path, role: Role, leader: str, device: str | None
) -> None:
    there = checkpoints(tmp_path, task=f"{leader}:0", role=role, leader=Task(leader, 0))
    assert there._options.experimental_io_device == device


# When


def test_a_policy_of_steps_is_due_once_its_boundary_is_reached_or_passed(tmp_path: Path) -> None:
    there = checkpoints(tmp_path)
    assert [there.due(step) for step in (1, 49, 50, 51, 120)] == [False, False, True, True, True]
    there.save(51)
    assert [there.due(step) for step in (51, 99, 100)] == [False, False, True]


def test_a_policy_of_steps_counts_on_after_a_resume(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(100)
    there = checkpoints(tmp_path)
    there.restore(100)
    assert [there.due(step) for step in (101, 149, 150)] == [False, False, True]


def test_a_resume_at_a_step_between_two_boundaries_is_due_at_the_next(tmp_path: Path) -> None:
    checkpoints(tmp_path).save(70)
    there = checkpoints(tmp_path)
    there.restore(70)
    assert [there.due(step) for step in (71, 99, 100)] == [False, False, True]


def test_a_policy_of_steps_knows_its_next_step(tmp_path: Path) -> None:
    there = checkpoints(tmp_path)
    assert [there.next_step(step) for step in (0, 49, 50, 51)] == [50, 50, 100, 100]


def test_a_policy_of_seconds_is_due_that_long_after_the_last_save(tmp_path: Path, clock: list[float]) -> None:
    there = checkpoints(tmp_path, checkpoint=CheckpointPolicy(every_seconds=30.0))
    clock[0] += 29.9
    assert not there.due(10**6)
    clock[0] += 0.1
    assert there.due(1)
    there.save(1)
    assert not there.due(10**6)
    clock[0] += 30.0
    assert there.due(2)


def test_a_policy_of_seconds_has_no_next_step(tmp_path: Path) -> None:
    assert checkpoints(tmp_path, checkpoint=CheckpointPolicy()).next_step(5) is None
