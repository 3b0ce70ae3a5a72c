"""What a task is told, for tests that play one task in this process; and a place where several meet."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launcher.contract.context import TaskContext
from launcher.contract.roles import Role
from launcher.contract.task import Task

if TYPE_CHECKING:
    from tests.unit.runtime.rendezvous.meeting import Answering, Place

LEADER = Task("worker", 0)


def task_context(task: str = "worker:0", directory: Path = Path("/"), **changes: Any) -> TaskContext:
    """The context of a task that trains alone on one device, with these changes."""
    context = TaskContext(
        task=Task.parse(task),
        role=Role.TRAIN,
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


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place to meet at where everybody says every hundredth of a second what is to be said every few seconds."""
    from launcher.runtime.rendezvous import arrival, leading, waiting
    from tests.unit.runtime.rendezvous.meeting import Place

    for module, name in (
        (leading, "SAY_EVERY"),
        (leading, "_ANNOUNCE_FIRST"),
        (leading, "_INFORM_EVERY"),
        (waiting, "SAY_EVERY"),
        (arrival, "_AGAIN"),
    ):
        monkeypatch.setattr(module, name, 0.01)
    place = Place(tmp_path)
    yield place
    place.clear()


@pytest.fixture
def answering(place: Place) -> Iterator[Answering]:
    """What answers in the leader's place."""
    from tests.unit.runtime.rendezvous.meeting import PATIENCE, Answering

    with socket.create_server(("127.0.0.1", place.port)) as server:
        server.settimeout(PATIENCE)
        yield Answering(place, server)


def of_tensorflow(name: str, message: str = "x") -> Exception:
    """Return an exception of TensorFlow's own type of that name, as far as its name shows; TensorFlow is not loaded."""
    module = "tensorflow.python.framework.errors_impl"
    error: Exception = type(name, (Exception,), {"__module__": module})(message)
    return error
