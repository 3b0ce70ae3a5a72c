"""The processes of a launcher: its tasks by name, and whether any of them is left."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.support.jobs import LOOK_EVERY


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def task_process(launcher: subprocess.Popen[str], task: str) -> psutil.Process:
    """Return the process of this launcher's task, as soon as there is one."""
    starts = (f"launcher {task} of ", f'{{"task": "{task}"')
    return _process(launcher, task, lambda process: _identity(process).startswith(starts))


def spawner_process(launcher: subprocess.Popen[str]) -> psutil.Process:
    """Return the process of this launcher's spawner, as soon as there is one."""
    return _process(launcher, "its spawner", lambda process: "launcher.engines.local.spawner" in _title(process))


def _process(launcher: subprocess.Popen[str], what: str, is_it: Callable[[psutil.Process], bool]) -> psutil.Process:
    while launcher.poll() is None:
        for process in descendants(launcher):
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
        return title if title.startswith("launcher ") else process.environ().get("LAUNCHER_TASK", "")
    except psutil.Error:
        return ""


def all_gone(processes: list[psutil.Process]) -> bool:
    """Whether these processes have ended; waits for the kernel to say so."""
    return not psutil.wait_procs(processes, timeout=20)[1]
