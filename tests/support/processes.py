"""The processes of a launcher: its tasks by name, and whether any of them is left."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil

from tests.support.jobs import LOOK_EVERY


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def task_process(launcher: subprocess.Popen[str], task: str) -> psutil.Process:
    """Return the process of this launcher's task, as soon as there is one."""
    while launcher.poll() is None:
        for process in descendants(launcher):
            if _identity(process).startswith((f"launcher {task} of ", f'{{"task": "{task}"')):
                return process
        time.sleep(LOOK_EVERY)
    raise AssertionError(f"the launcher has ended, and {task} was not there")


def survivors(directory: Path) -> list[psutil.Process]:
    """Return every process, of whatever attempt, that is a task of a run in this directory."""
    return [process for process in psutil.process_iter() if str(directory) in _identity(process)]


def _identity(process: psutil.Process) -> str:
    """Return a task's title, or what the launcher told it, if it has no title yet."""
    try:
        title = " ".join(process.cmdline())
        return title if title.startswith("launcher ") else process.environ().get("LAUNCHER_TASK", "")
    except psutil.Error:  # it has just ended, or is somebody else's
        return ""


def all_gone(processes: list[psutil.Process]) -> bool:
    """Whether these processes have ended; waits for the kernel to say so."""
    return not psutil.wait_procs(processes, timeout=20)[1]
