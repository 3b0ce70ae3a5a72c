"""Spawners that wait for the next run, played by small programs; those with TensorFlow are in tests/cluster."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.engines.local import warm
from launcher.engines.local.process import Processes
from launcher.engines.local.warm import kind_of, place, waiting

# Listens where a warm spawner does; takes a run, or not, and never answers.
HANGS = """
import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(f"{sys.argv[1]}/{os.getpid()}-{sys.argv[2]}.sock")
listener.listen(1)
print("listens", flush=True)
kept = listener.accept() if sys.argv[3] == "accepts" else None
time.sleep(600)
"""


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    directory = tempfile.mkdtemp(prefix="w")  # pytest's own are too long for a socket
    monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
    monkeypatch.setattr(warm, "_ANSWER", 0.2)
    yield place()
    shutil.rmtree(directory)


@pytest.mark.parametrize("accepts", ["waits", "accepts"])
def test_a_warm_spawner_that_hangs_is_named_and_ended_and_another_one_started(runtime: Path, accepts: str) -> None:
    command = [sys.executable, "-c", HANGS, str(runtime), kind_of("host"), accepts]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as hangs:
        assert hangs.stdout
        hangs.stdout.readline()
        assert [there.pid for there in waiting()] == [hangs.pid]
        try:
            with Processes("host", keep_warm=60.0, say=said.append) as processes:
                assert processes.first_word(lambda: bool(list(processes.receive())))
            assert hangs.wait(20) == -9
        finally:
            hangs.kill()
    who = f"the spawner that waits for the next run (process {hangs.pid})"
    assert said == [f"{who} has given no answer for 0.2 s; it is ended, and another one started"]
    assert list(waiting()) == []


def test_a_warm_spawner_that_has_gone_leaves_no_trace(runtime: Path) -> None:
    gone = runtime / f"999999-{kind_of('host')}.sock"
    gone.touch()
    said: list[str] = []
    with Processes("host", keep_warm=60.0, say=said.append) as processes:
        assert processes.first_word(lambda: bool(list(processes.receive())))
    assert said == []
    assert not gone.exists()
