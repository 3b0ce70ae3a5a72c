"""Two launchers never run the same task of one run; what a dead one leaves behind stops nobody."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.engines import run_lock
from launcher.engines.run_lock import Holder, locked, users
from launcher.errors import UsageError
from launcher.rundir import RunFiles
from tests.unit.supervise.histories import FIRST, SECOND

# Holds worker:0 until its standard input ends.
HOLDS = """
import sys
from pathlib import Path
from launcher.contract.task import Task
from launcher.rundir import RunFiles
from launcher.engines.run_lock import locked
with locked(RunFiles(Path(sys.argv[1])), [Task("worker", 0)], print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(tmp_path)


@pytest.fixture
def other(files: RunFiles) -> Iterator[subprocess.Popen[str]]:
    """Another launcher, that runs worker:0."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(files.directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def locks(files: RunFiles) -> list[str]:
    return sorted(path.name for path in files.lock("").parent.glob("*"))


def nothing(_: str) -> None:
    raise AssertionError("there was something to say")


def test_a_lock_tells_who_has_it_and_goes_with_its_launcher(files: RunFiles) -> None:
    with locked(files, [FIRST, SECOND], nothing) as held:
        assert len(held) == 2
        assert locks(files) == ["worker-0.lock", "worker-1.lock"]
        content = json.loads(files.lock("worker-0").read_text())
        assert (content["pid"], content["host"]) == (os.getpid(), socket.gethostname())
    assert locks(files) == []


def test_a_second_launcher_of_a_task_is_refused_with_the_name_of_the_first(
    files: RunFiles, other: subprocess.Popen[str]
) -> None:
    with pytest.raises(UsageError) as caught, locked(files, [FIRST], nothing):
        raise AssertionError("both have it")
    assert str(caught.value).startswith(f"{files.name} is in use: a launcher (pid {other.pid} on ")
    assert str(caught.value).endswith(" runs worker:0; stop it first, or start a new run")


@pytest.mark.usefixtures("other")
def test_launchers_of_other_tasks_share_a_run(files: RunFiles) -> None:
    with locked(files, [SECOND], nothing):
        assert locks(files) == ["worker-0.lock", "worker-1.lock"]


def test_what_a_dead_launcher_left_is_taken_over_and_said(files: RunFiles, other: subprocess.Popen[str]) -> None:
    other.kill()
    other.wait()
    assert locks(files) == ["worker-0.lock"]
    said: list[str] = []
    with locked(files, [FIRST, SECOND], said.append):
        assert len(said) == 1
        assert said[0].startswith(f"the launcher that ran this before (pid {other.pid} on ")
        assert said[0].endswith(" was killed; resuming its run")
    assert locks(files) == []


@pytest.mark.usefixtures("other")
def test_a_refused_launcher_leaves_its_other_tasks_free(files: RunFiles) -> None:
    with pytest.raises(UsageError), locked(files, [SECOND, FIRST], nothing):
        raise AssertionError("both have it")
    assert locks(files) == ["worker-0.lock"]


def test_where_the_launcher_has_gone_and_its_spawner_has_not_it_is_waited_for(
    files: RunFiles, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Holder, "has_gone", True)
    monkeypatch.setattr(run_lock, "_SAY_AFTER", 0.0)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        other.kill()

    with locked(files, [FIRST], say):
        assert said[0].startswith(f"waiting for the last tasks of a launcher that was killed (pid {other.pid} on ")


def test_a_lock_that_can_no_longer_be_removed_stays(files: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlink(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with locked(files, [FIRST], nothing):
        monkeypatch.setattr(Path, "unlink", unlink)
    assert locks(files) == ["worker-0.lock"]


def no_locks(*_: object) -> None:
    raise OSError(37, "No locks available")


def test_a_file_system_without_locks_does_not_tell_who_uses_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    with locked(RunFiles(tmp_path / "run"), [FIRST], nothing):
        assert len(list(users(tmp_path, FIRST))) == 1
        monkeypatch.setattr("fcntl.flock", no_locks)
        assert list(users(tmp_path, FIRST)) == []


def test_a_file_system_without_locks_is_said_and_used(files: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", no_locks)
    said: list[str] = []
    with locked(files, [FIRST], said.append):
        assert said == ["the run's directory cannot be locked (No locks available): see that no other launcher uses it"]
