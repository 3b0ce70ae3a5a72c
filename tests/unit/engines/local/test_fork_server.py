"""The spawner and its fork server: what it imports, why it may refuse to fork, and tasks that are spawned then."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from launcher.contract.task import Task
from launcher.engines.local.process import Processes
from tests.unit.engines.local.conftest import spawner_of_this_process

WORKER = Task("worker", 0)
ROOT = Path(__file__).parents[4]
REFUSALS = {
    "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()": (
        "importing TensorFlow has started threads of its own (1)"
    ),
    "raise ImportError('libnothing.so')": "importing TensorFlow has failed (ImportError: libnothing.so)",
    "import os; os._exit(1)": "the fork server has ended, while it imported TensorFlow",
}


@pytest.fixture
def processes() -> Iterator[Processes]:
    with Processes("host") as there:
        yield there


def start(processes: Processes, code: str, tensorflow: str, directory: Path) -> int:
    """Ask for a fork of a task, with this as TensorFlow; return the end of what the task writes."""
    (directory / "tensorflow").mkdir()
    (directory / "tensorflow" / "__init__.py").write_text(tensorflow)
    read_end, write_end = os.pipe()
    path = os.pathsep.join([str(directory), str(ROOT)])
    processes.start(WORKER, [sys.executable, "-c", code], {"PYTHONPATH": path}, write_end, fork=True)
    os.close(write_end)
    return read_end


def messages(processes: Processes, last: str) -> list[Mapping[str, Any]]:
    """What the spawner says, up to the message with that key."""
    heard: list[Mapping[str, Any]] = []
    while not any(last in message for message in heard):
        heard += processes.receive()
    return heard


@pytest.mark.parametrize("tensorflow", REFUSALS)
def test_where_tasks_cannot_be_forked_they_are_spawned_and_it_is_said_why(
    processes: Processes, tmp_path: Path, tensorflow: str
) -> None:
    output = start(processes, "print('spawned')", tensorflow, tmp_path)
    heard = messages(processes, "exited")
    assert [message["spawns"] for message in heard if "spawns" in message] == [REFUSALS[tensorflow]]
    assert heard[-1]["code"] == 0
    with open(output) as said:  # noqa: PTH123  # a descriptor
        assert said.read() == "spawned\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_task_is_ended_before_the_import_is_over(processes: Processes, tmp_path: Path, number: int) -> None:
    output = start(processes, "print('never')", "import time; time.sleep(600)", tmp_path)
    messages(processes, "network")
    processes.kill(WORKER, number)
    assert messages(processes, "exited")[-1]["code"] == -number
    with open(output) as said:  # noqa: PTH123
        assert said.read() == ""


def test_the_fork_server_ends_with_its_spawner_whatever_it_does(tmp_path: Path) -> None:
    with Processes("host") as processes:
        imported = tmp_path / "imported"
        os.close(start(processes, "", f"open({str(imported)!r}, 'w').close(); import time; time.sleep(600)", tmp_path))
        while not imported.exists():
            time.sleep(0.01)
        (server,) = spawner_of_this_process().children()
    assert not server.is_running()
