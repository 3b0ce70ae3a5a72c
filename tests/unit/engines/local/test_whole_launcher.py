"""``launcher run`` as a user starts it, with small programs instead of TensorFlow tasks: exit codes, signals, files."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.engines.local.network.programs import PROGRAMS
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
        run = {"start_method": "spawn", **content.pop("run", {})}  # a small program is no fork of TensorFlow's import
        place.write(**{"job": "hello", "args": {}} | content, run=run)
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


def test_kill_9_of_the_launcher_ends_every_task_and_leaves_no_scratch_directory(plays: Start, tmp_path: Path) -> None:
    place = plays("ready", "worker:1/say=trains", "sleep=600")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    place.environment["TMPDIR"] = str(scratch)
    launcher = place.start("run")
    seen = read_until(launcher, "worker:1 │ trains")
    tasks = descendants(launcher)
    assert len(tasks) >= 3, seen  # two workers, the process that owns them, and perhaps those of the way out
    assert len(list(scratch.iterdir())) == 2
    launcher.kill()
    assert all_gone(tasks)
    assert list(scratch.iterdir()) == []


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


@pytest.fixture
def no_tensorflow(tmp_path: Path) -> Path:
    """A directory with a TensorFlow whose import fails, as one without a library that it needs."""
    (tmp_path / "broken" / "tensorflow").mkdir(parents=True)
    (tmp_path / "broken" / "tensorflow" / "__init__.py").write_text("raise ImportError('libnothing.so')")
    return tmp_path / "broken"


def test_tasks_that_have_to_be_forked_and_cannot_be_are_refused(plays: Start, no_tensorflow: Path) -> None:
    place = plays(*DONE, run={"start_method": "fork"})
    place.environment["PYTHONPATH"] = f"{no_tensorflow}:{ROOT}"
    ran = place.finish(place.start("run"))
    assert ran.code == 2
    assert ran.last == (
        "run.start_method is fork, and tasks cannot be forked here: importing TensorFlow has failed "
        "(ImportError: libnothing.so); write auto or spawn"
    )


def test_tasks_that_may_be_forked_and_cannot_be_are_spawned_and_it_is_said_why(
    plays: Start, no_tensorflow: Path
) -> None:
    place = plays(*DONE, run={"start_method": "auto"})
    place.environment["PYTHONPATH"] = f"{no_tensorflow}:{SMALL}:{ROOT}"
    ran = place.finish(place.start("run"))
    why = "importing TensorFlow has failed (ImportError: libnothing.so)"
    assert f"each task imports TensorFlow itself: {why}" in ran.output
    assert [event["cause"] for event in ran.events("spawns")] == [why]
    assert ran.code == 0, ran.output  # the small programs import nothing


# Networks


def test_a_network_without_a_way_out_is_said_with_its_remedy_before_the_first_task(
    plays: Start, tmp_path: Path
) -> None:
    place = plays(*DONE)
    place.environment["PATH"] = str(tmp_path)  # no program is there
    ran = place.finish(place.start("run"))
    assert ran.code == 0, ran.output
    lines = ran.output.splitlines()
    if "open to this host's network" in lines[1]:
        pytest.skip(lines[1])
    assert lines[1] == (
        "the tasks' network reaches nothing outside: neither pasta nor slirp4netns is installed (Debian, Ubuntu: "
        "apt install passt, or slirp4netns); install one, or --set run.network=host, if the job loads or reports "
        "anything"
    )


def test_a_way_out_that_ends_in_the_middle_is_said_once_and_the_run_goes_on(plays: Start, tmp_path: Path) -> None:
    end = tmp_path / "end"
    place = plays("ready", "step=1", "say=trains", f"await={end}", "result", "exit=0")
    launcher = place.start("run")
    seen = read_until(launcher, "trains")
    carriers = [process for process in descendants(launcher) if is_way_out(process)]
    if not carriers:
        assert not os.environ.get("CI"), seen
        pytest.skip("there is no way out of a private network")
    carriers[0].kill()
    seen += read_until(launcher, "reaches nothing outside")
    end.touch()
    ran = place.finish(launcher, seen)
    assert ran.code == 0, ran.output
    (event,) = ran.events("closed")
    assert event["cause"].endswith(" has ended, killed by signal 9")
    said = f"the tasks' network reaches nothing outside: {event['cause']}; mend that, or --set run.network=host, if "
    assert ran.output.count("reaches nothing outside") == ran.output.count(said) == 1


def is_way_out(process: psutil.Process) -> bool:
    return any(Path(word).name.partition(".")[0] in PROGRAMS for word in process.cmdline()[:1])


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_whose_streams_were_closed_at_the_start_is_a_run_like_any_other(plays: Start, closed: str) -> None:
    place = plays("say=trains", *DONE)
    place.command = ("sh", "-c", f'exec "$0" -m launcher "$@" {closed}', sys.executable)
    ran = place.finish(place.start("run"))
    assert (ran.code, ran.result["status"]) == (0, "done")
    assert (ran.files / "logs" / "attempt-1" / "worker-0.log").read_text() == "trains\n"


def test_a_hang_up_that_comes_twice_leaves_the_time_to_end_well(plays: Start, tmp_path: Path) -> None:
    # As one that finishes its steps and writes a checkpoint.
    words = ("ignore", "ready", "step=1", "say=trains", f"await={tmp_path / 'stop'}", "exit=143")
    place = plays(*words, cluster={"worker": 1})  # so that all are ready once one of them trains
    launcher = place.start("run")
    seen = read_until(launcher, "worker:0 │ trains")
    launcher.send_signal(signal.SIGHUP)
    seen += read_until(launcher, "stopping: ")
    launcher.send_signal(signal.SIGHUP)
    (place.directory / "stop").touch()
    ran = place.finish(launcher, seen)
    assert ran.code == 143, ran.output
    assert [event["cause"] for event in ran.events("stopped")] == ["exited with code 143"]


def test_a_spawner_that_was_stopped_does_not_keep_the_tasks_from_being_asked_to_end(
    plays: Start, tmp_path: Path
) -> None:
    words = ("ignore", "ready", "step=1", "say=trains", f"await={tmp_path / 'stop'}", "exit=143")
    place = plays(*words, cluster={"worker": 1})
    launcher = place.start("run")
    seen = read_until(launcher, "worker:0 │ trains")
    psutil.Process(task_process(launcher, "worker:0").ppid()).suspend()
    launcher.send_signal(signal.SIGTERM)
    seen += read_until(launcher, "stopping: ")
    (place.directory / "stop").touch()
    ran = place.finish(launcher, seen)
    assert ran.code == 143, ran.output
    assert [event["cause"] for event in ran.events("stopped")] == ["exited with code 143"]


def test_a_task_that_was_stopped_is_continued_to_end_as_it_was_asked_to(plays: Start, tmp_path: Path) -> None:
    place = plays("ready", "step=1", "say=trains", f"await={tmp_path / 'never'}", cluster={"worker": 1})
    launcher = place.start("run")
    seen = read_until(launcher, "worker:0 │ trains")
    task_process(launcher, "worker:0").suspend()
    launcher.send_signal(signal.SIGTERM)
    ran = place.finish(launcher, seen)
    assert ran.code == 143, ran.output
    assert [event["cause"] for event in ran.events("stopped")] == ["killed by SIGTERM"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_repeated_to_the_end_never_cuts_the_last_lines_short(
    plays: Start, number: signal.Signals
) -> None:
    place = plays("ready", "step=1", "say=trains", "sleep=600", cluster={"worker": 1})
    launcher = place.start("run")
    seen = read_until(launcher, "worker:0 │ trains")
    assert launcher.stdout
    while launcher.poll() is None:
        launcher.send_signal(number)
        time.sleep(0.001)
    ran = place.finish(launcher, seen)
    assert (ran.code, ran.result["status"]) == (143, "stopped"), ran.output
    assert "to continue: launcher run --resume" in ran.output


def test_under_nohup_a_hang_up_is_nothing(plays: Start, tmp_path: Path) -> None:
    place = plays("ready", "say=trains", f"await={tmp_path / 'go'}", "result", "exit=0")
    place.command = ("sh", "-c", 'trap "" HUP; exec "$0" -m launcher "$@"', sys.executable)
    launcher = place.start("run")
    seen = read_until(launcher, "worker:0 │ trains")
    launcher.send_signal(signal.SIGHUP)
    (place.directory / "go").touch()
    ran = place.finish(launcher, seen)
    assert (ran.code, ran.result["status"]) == (0, "done"), ran.output
