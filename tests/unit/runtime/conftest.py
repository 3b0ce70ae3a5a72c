"""What a task is told, for tests that play one task in this process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from launcher.cluster.context import Task, TaskContext

LEADER = Task("worker", 0)


def task_context(task: str = "worker:0", directory: Path = Path("/"), **changes: Any) -> TaskContext:
    """The context of a task that trains alone on one device, with these changes."""
    context = TaskContext(
        task=Task.parse(task),
        role="train",
        mode="sync",
        strategy="OneDeviceStrategy",
        communication="AUTO",
        cluster={},
        leader=LEADER,
        rendezvous="",
        job="hello",
        args={},
        directory=str(directory),
        cores=(),
        gpus=(),
        gpu_memory=None,
        virtual_devices=None,
        start_timeout=10.0,
        run_directory=str(directory),
    )
    return dataclasses.replace(context, **changes)
