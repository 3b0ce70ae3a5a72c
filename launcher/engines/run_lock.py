"""Run lock: which launcher runs which tasks of a run, so that no two run the same.

Launchers that share a run's directory have a lock for each of their tasks. The kernel keeps it (flock) for as long as
the launcher or its spawner lives, so the file that a killed launcher leaves is known to be stale, whatever it says.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from launcher.contract.task import Task
from launcher.errors import UsageError
from launcher.rundir import RunFiles

_LAST_ACT = 8.0  # seconds that the spawner of a killed launcher may take to end its tasks
_AGAIN = 0.05  # seconds between two attempts to get the lock meanwhile
_SAY_AFTER = 1.0  # seconds of waiting


@dataclass(frozen=True)
class Holder:
    """A launcher, as its lock names it."""

    pid: int
    host: str
    since: str

    @classmethod
    def this(cls) -> Self:
        """Return this process."""
        return cls(os.getpid(), socket.gethostname(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))

    @classmethod
    def read(cls, descriptor: int) -> Self | None:
        """Return who wrote the lock; None if nobody has, or not yet."""
        try:
            return cls(**json.loads(os.pread(descriptor, 4096, 0)))
        except (ValueError, TypeError, RecursionError):
            return None

    @property
    def has_gone(self) -> bool:
        """Whether it was a process of this machine that is no more."""
        return self.host == socket.gethostname() and not Path("/proc", str(self.pid)).exists()

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}, since {self.since}"


@contextmanager
def locked(files: RunFiles, tasks: Iterable[Task], say: Callable[[str], None]) -> Iterator[list[int]]:
    """Hold these tasks of a run; yields the open locks, for whoever must hold them until the tasks have ended.

    ``say`` is called with a sentence if a launcher before has left its locks. UsageError if another one runs one
    of the tasks.
    """
    with ExitStack() as stack:
        held, before = [], None
        for task in tasks:
            descriptor, left = _take(files, task, say)
            held.append(descriptor)
            before = before or left
            stack.callback(_let_go, files.lock(task.slug), descriptor)
        if before:
            say(f"the launcher that ran this before ({before}) was killed; resuming its run")
        yield held


def users(output: Path, task: Task) -> Iterator[tuple[RunFiles, Holder]]:
    """Yield each run in this directory whose launcher runs that task now."""
    for path in sorted(output.glob(f"*/locks/{task.slug}.lock")):
        # It has gone a moment ago, is another user's, or its file system has no locks: nothing is known of it.
        with suppress(OSError), path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = Holder.read(file.fileno())
                if holder and not path.parents[1].is_symlink():
                    yield RunFiles(path.parents[1]), holder


def _take(files: RunFiles, task: Task, say: Callable[[str], None]) -> tuple[int, Holder | None]:
    """Return the open lock of a task, and who left it behind."""
    path, began, said = files.lock(task.slug), time.monotonic(), False
    while True:
        descriptor = _open(path)
        if _lock(descriptor, say):
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                break
            os.close(descriptor)  # removed by whoever held it a moment ago
            continue
        holder, waited = Holder.read(descriptor), time.monotonic() - began
        os.close(descriptor)
        # The spawner of a launcher that was killed holds it until the last of its tasks has ended.
        if waited > _LAST_ACT or (holder and not holder.has_gone):
            whose = f"a launcher ({holder})" if holder else "another launcher"
            raise UsageError(f"{files.name} is in use: {whose} runs {task}; stop it first, or start a new run")
        if waited > _SAY_AFTER and not said:
            said = True
            say(f"waiting for the last tasks of a launcher that was killed ({holder})")
        time.sleep(_AGAIN)
    left = Holder.read(descriptor)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(Holder.this())).encode(), 0)
    return descriptor, left


def _open(path: Path) -> int:
    while True:
        path.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # the last launcher that let go has removed the folder a moment ago
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _lock(descriptor: int, say: Callable[[str], None]) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network file systems have no locks
        say(f"the run's directory cannot be locked ({error.strerror}): see that no other launcher uses it")
    return True


def _let_go(path: Path, descriptor: int) -> None:
    with suppress(OSError):  # a disk that is read-only by now; others have theirs in the folder
        path.unlink(missing_ok=True)
        path.parent.rmdir()
    os.close(descriptor)
