"""``launcher run`` as a user starts it, with small programs instead of TensorFlow tasks: exit codes, signals, files."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.host.ports import free_ports
from tests.support.processes import all_gone, descendants, survivors, task_process
from tests.support.workplace import ROOT, Workplace, read_until

SMALL = ROOT / "tests" / "support" / "small"
DONE = ("ready", "result", "exit=0")
# A step is made, so that a restart is allowed, and then nothing more.
TRAINS = ("ready", "step=1", "say=trains", "sleep=600")
Start = Callable[..., Workplace]


@pytest.fixture
def plays(tmp_path: Path) -> Iterator[Start]:
    """Return a function that makes a place for a cluster whose tasks do what the words say."""
    places: list[Workplace] = []

    def make(*words: str, **content: Any) -> Workplace:
        path = f"{SMALL}:{ROOT}"
        place = Workplace(tmp_path, PYTHONPATH=path, LAUNCHER_SMALL_TASK="\n".join(words), LAUNCHER_READY_FILE="")
        place.write(**{"job": "hello", "args": {}} | content)
        places.append(place)
        return place

    yield make
    for place in places:
        place.end()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
@pytest.mark.parametrize("words", [("say=starts", "sleep=600"), TRAINS], ids=["start", "training"])
def test_a_signal_stops_the_run_with_its_code_and_leaves_no_process(
    plays: Start, words: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    place = plays(*words)
    launcher = place.start("run")
    seen = read_until(launcher, "worker:0 │ ")
    tasks = descendants(launcher)
    launcher.send_signal(number)
    ran = place.finish(launcher, seen)
    assert (ran.code, ran.result["status"], ran.result["exit_code"]) == (code, "stopped", code), ran.output
    assert f"launcher run --resume runs/{ran.files.resolve().name}" in ran.output
    assert all_gone(tasks)
    assert survivors(place.directory) == []


def test_kill_9_of_the_launcher_ends_every_task(plays: Start) -> None:
    place = plays("ready", "worker:1/say=trains", "sleep=600")
    launcher = place.start("run")
    seen = read_until(launcher, "worker:1 │ trains")
    tasks = descendants(launcher)
    assert len(tasks) >= 3, seen  # two workers, the process that owns them, and perhaps those of the way out
    launcher.kill()
    assert all_gone(tasks)


def test_a_task_that_dies_before_the_first_step_is_not_restarted(plays: Start) -> None:
    place = plays("say=starts", "sleep=600")
    launcher = place.start("run")
    task_process(launcher, "worker:1").kill()
    ran = place.finish(launcher)
    assert ran.code == 1
    assert "worker:1 failed: killed by SIGKILL\n" in ran.output
    assert (ran.result["status"], ran.result["attempts"]) == ("failed", 1)
    assert survivors(place.directory) == []


def test_a_worker_that_is_killed_without_restarts_is_the_cause_by_name(plays: Start) -> None:
    place = plays(*TRAINS, run={"restarts": 0})
    launcher = place.start("run")
    seen = read_until(launcher, "worker:1 │ trains")
    task_process(launcher, "worker:1").kill()
    ran = place.finish(launcher, seen)
    assert ran.code == 1
    assert ran.result["cause"]["task"] == "worker:1"
    assert "worker:1 failed: killed by SIGKILL" in ran.output
    assert ran.last.startswith("  full log: runs/test-")


def test_ctrl_c_while_a_restart_is_waited_for_ends_with_130_and_leaves_no_process(plays: Start) -> None:
    place = plays(*TRAINS, cluster={"worker": 1, "evaluator": 1})  # which lives while the others wait
    place.environment["LAUNCHER_SMALL_PAUSE"] = "600"  # however slow this machine is
    launcher = place.start("run")
    seen = read_until(launcher, "worker:0    │ trains")
    tasks = descendants(launcher)
    task_process(launcher, "worker:0").kill()
    seen += read_until(launcher, "attempt 2 starts in")
    launcher.send_signal(signal.SIGINT)
    ran = place.finish(launcher, seen)
    assert ran.code == 130, ran.output
    assert ran.result["status"] == "stopped"
    assert ran.logs == {"attempt-1/worker-0", "attempt-1/evaluator-0"}
    assert all_gone(tasks)
    assert survivors(place.directory) == []


def test_a_run_that_is_done_is_resumed_with_a_sentence_and_stays_as_it_was(plays: Start) -> None:
    place = plays(*DONE, cluster={"worker": 1})
    first = place.finish(place.start("run"))
    assert first.code == 0, first.output
    before = first.result
    again = place.finish(place.start("run", "--resume", "latest"))
    assert again.code == 0
    assert "is finished (1 steps): nothing to do" in again.output
    assert again.result == before


def test_a_written_port_that_is_in_use_is_refused_with_its_holder(plays: Start) -> None:
    with socket.create_server(("", 0)) as server:
        port, other = server.getsockname()[1], free_ports(1)[0]
        place = plays(*DONE, cluster={"worker": [f"127.0.0.1:{port}", f"127.0.0.1:{other}"]})
        ran = place.finish(place.start("run"))
    assert ran.code == 2
    assert f"port {port}" in ran.output
    assert "pid" in ran.output
    assert not (place.directory / "runs").exists()


def test_tasks_of_several_machines_are_not_guessed(plays: Start) -> None:
    place = plays(*DONE, cluster={"worker": ["node-a:2222", "node-b:2222"]})
    ran = place.finish(place.start("run"))
    assert ran.code == 2
    assert "launcher run --host node-a" in ran.output
