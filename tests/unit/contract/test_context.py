from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.contract.context import CheckpointPolicy, TaskContext
from launcher.contract.roles import Role
from launcher.contract.task import Task

CONTEXT = TaskContext(
    task=Task("worker", 1),
    role=Role.TRAIN,
    mode="sync",
    strategy="MultiWorkerMirroredStrategy",
    communication="RING",
    cluster={"worker": ("127.0.0.1:1", "127.0.0.1:2")},
    leader=Task("worker", 0),
    rendezvous="127.0.0.1:3",
    job="hello",
    args={"epochs": 3},
    directory="/somewhere",
    cores=(0, 2),
    gpus=(),
    gpu_memory=None,
    virtual_devices=None,
    start_timeout=60.0,
    checkpoint=CheckpointPolicy(every_seconds=None, every_steps=50, keep=2),
)


def test_a_context_survives_its_way_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_TASK", CONTEXT.to_json())
    assert TaskContext.from_environment() == CONTEXT


def test_a_context_that_is_too_long_for_a_variable_goes_by_a_file_that_nobody_else_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = dataclasses.replace(CONTEXT, args={"words": ["word"] * 50_000})
    monkeypatch.setenv("LAUNCHER_TASK", long.carried(file := tmp_path / "worker-1.json"))
    assert len(os.environ["LAUNCHER_TASK"]) < 1000
    assert TaskContext.from_environment() == long
    assert file.stat().st_mode & 0o777 == 0o600
    assert CONTEXT.carried(tmp_path / "other") == CONTEXT.to_json()
    assert not (tmp_path / "other").exists()


def test_the_members_are_all_tasks_of_the_cluster_and_the_leader_is_one_of_them() -> None:
    assert CONTEXT.members == (Task("worker", 0), Task("worker", 1))
    assert not CONTEXT.is_leader
    assert dataclasses.replace(CONTEXT, task=Task("worker", 0)).is_leader


def test_a_task_is_read_as_it_is_written() -> None:
    assert Task.parse("worker:1") == Task("worker", 1)
    for text in ("worker", "worker:x", ":1", "worker:-1", "worker:1:2"):
        with pytest.raises(ValueError, match="a task is written job:index"):
            Task.parse(text)


def test_importing_the_contract_needs_nothing_but_python() -> None:
    code = (
        "import sys, launcher.contract.context; "
        "print([name for name in ('pydantic', 'yaml', 'click', 'tensorflow') if name in sys.modules])"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
