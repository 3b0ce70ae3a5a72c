"""What a task is told, for tests that play one task in this process; and a place where several meet."""

from __future__ import annotations

import dataclasses
import socket
import socketserver
import time
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path
from types import ModuleType, SimpleNamespace
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


def serve_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers shut down at once, not within half a second."""
    serve = socketserver.BaseServer.serve_forever
    monkeypatch.setattr(socketserver.BaseServer, "serve_forever", partialmethod(serve, poll_interval=0.01))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place to meet at where everybody says every hundredth of a second what is to be said every few seconds."""
    from launcher.runtime.rendezvous import leader, member, messages, reception
    from tests.unit.runtime.rendezvous.meeting import Place

    serve_quickly(monkeypatch)
    place, listen = Place(tmp_path), reception.listen

    def watched(rendezvous: str, converse: Callable[[reception.Conversation], None]) -> socketserver.TCPServer:
        server = listen(rendezvous, converse)
        place.servers.append(server)
        place.listening.set()
        return server

    monkeypatch.setattr(leader, "listen", watched)
    for module, name in (
        (leader, "SAY_EVERY"),
        (leader, "_SAY_FIRST"),
        (leader, "_TELL_EVERY"),
        (member, "SAY_EVERY"),
        (member, "_AGAIN"),
        (messages, "SAY_EVERY"),
    ):
        monkeypatch.setattr(module, name, 0.01)
    yield place
    place.clear()


@pytest.fixture
def answering(place: Place) -> Iterator[Answering]:
    """What answers in the leader's place."""
    from tests.unit.runtime.rendezvous.meeting import PATIENCE, Answering

    with socket.create_server(("127.0.0.1", place.port)) as server:
        server.settimeout(PATIENCE)
        yield Answering(place, server)


@pytest.fixture
def forward_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType, float], None]:
    """Return a function that puts forward the clock that this module goes by, and lets it sleep briefly."""

    def forward(module: ModuleType, seconds: float) -> None:
        naps = SimpleNamespace(monotonic=lambda: time.monotonic() + seconds, sleep=lambda _: time.sleep(0.01))
        monkeypatch.setattr(module, "time", naps)

    return forward
