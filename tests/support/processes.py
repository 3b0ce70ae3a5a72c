"""The processes of a launcher: its tasks by name, and whether any of them is left."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import psutil

from launcher.engines.local.network.settled import Network
from launcher.engines.local.process import Processes
from launcher.engines.local.warm import waiting
from tests.support.jobs import LOOK_EVERY


def network_of(processes: Processes) -> Network:
    """Return the network that the tasks of this spawner get: its first word."""

    def wait() -> bool:
        if select.select([processes.connection], [], [], LOOK_EVERY)[0]:
            with suppress(EOFError):
                list(processes.receive())
        return True

    network = processes.first_word(wait)
    assert network
    return network


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def task_process(launcher: subprocess.Popen[str], task: str) -> psutil.Process:
    """Return the process of this launcher's task, as soon as there is one; a warm spawner's is no descendant."""
    directory, starts = Path(psutil.Process(launcher.pid).cwd()), (f"launcher {task} of ", f'{{"task": "{task}"')
    return _process(launcher, task, lambda: survivors(directory), lambda one: _identity(one).startswith(starts))


def spawner_process(launcher: subprocess.Popen[str]) -> psutil.Process:
    """Return the process of this launcher's spawner, as soon as there is one."""
    module = "launcher.engines.local.spawner"
    return _process(launcher, "its spawner", lambda: descendants(launcher), lambda one: module in _title(one))


def _process(
    launcher: subprocess.Popen[str],
    what: str,
    candidates: Callable[[], list[psutil.Process]],
    is_it: Callable[[psutil.Process], bool],
) -> psutil.Process:
    while launcher.poll() is None:
        for process in candidates():
            if is_it(process):
                return process
        time.sleep(LOOK_EVERY)
    raise AssertionError(f"the launcher has ended, and {what} was not there")


def survivors(directory: Path) -> list[psutil.Process]:
    """Return every process, of whatever attempt, that is a task of a run in this directory."""
    return [process for process in psutil.process_iter() if str(directory) in _identity(process)]


def all_within(directory: Path) -> list[psutil.Process]:
    """Return every process of a run in this directory: its tasks, and those that own them."""
    return [process for process in psutil.process_iter() if is_within(process, directory)]


def is_within(process: psutil.Process, directory: Path) -> bool:
    """Whether this is a task of a run in this directory, or was started in it and stayed there."""
    try:
        return str(directory) in _identity(process) or Path(process.cwd()).is_relative_to(directory)
    except psutil.Error:
        return False


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has just ended, or is somebody else's
        return ""


def _identity(process: psutil.Process) -> str:
    """Return a task's title, or what the launcher told it, if it has no title yet."""
    title = _title(process)
    try:
        if title.startswith("launcher "):
            return title
        return process.environ().get("LAUNCHER_TASK", "") if "python" in title else ""  # nothing else becomes a task
    except psutil.Error:
        return ""


def all_gone(processes: list[psutil.Process]) -> bool:
    """Whether these processes have ended; waits for the kernel to say so."""
    return not psutil.wait_procs(processes, timeout=20)[1]


@contextmanager
def warm_spawners() -> Iterator[str]:
    """Yield an XDG_RUNTIME_DIR, in which spawners wait for the next run; they are ended afterwards."""
    runtime = tempfile.mkdtemp(prefix="w")  # pytest's own are too long for a socket
    yield runtime
    with patch.dict(os.environ, XDG_RUNTIME_DIR=runtime):
        spawners = [psutil.Process(warm.pid) for warm in waiting()]
    for spawner in spawners:
        family = [spawner, *spawner.children()]
        spawner.kill()
        assert all_gone(family)
    shutil.rmtree(runtime)
