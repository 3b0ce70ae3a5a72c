"""Rendezvous: the tasks of a cluster meet before any TensorFlow server starts, and part when nobody needs another.

The leader listens; every member connects, names itself, and hears who is missing until all are there. Then each gets
ready: it finds every task's host, and has the checkpoint that all resume from. The same connection lives as long as the
run: it tells at once when a task has gone, which TensorFlow finds out in ten seconds or never, it carries the reason
where a task fails for good, and it agrees on the end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from launcher.contract.context import TaskContext
from launcher.contract.task import Task
from launcher.errors import LauncherError
from launcher.rundir import RunFiles
from launcher.runtime.checkpoint.files import CheckpointFiles
from launcher.runtime.rendezvous.leader import Leader
from launcher.runtime.rendezvous.member import Member
from launcher.runtime.rendezvous.messages import Tell


class Meeting(Protocol):
    """One task's part in the rendezvous. A context manager: an error in its block is told to all."""

    step: int  # from which all resume
    left_out: tuple[Task, ...]  # workers that all go on without

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Tell the others why this task ends, where starting again would not help."""

    def watch(self, leave: Callable[[LauncherError], None]) -> None:
        """From now on call ``leave``, in a thread of its own, as soon as this task can only fail."""

    def part(self, *, stopped: bool = False) -> None:
        """Say that this task is finished, and return when all may leave."""

    def wait_for_end(self) -> bool:
        """Serve until the leader says that nobody needs this task; return whether the run came to its end."""


class Alone:
    """The meeting of a task that has nobody to meet."""

    def __init__(self, context: TaskContext) -> None:
        files = CheckpointFiles(RunFiles(Path(context.run_directory)).checkpoints)
        newest = files.newest_sound(partial(print, flush=True))
        self.step = newest.step if newest else 0
        self.left_out = context.left_out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nobody is there to be told."""

    def watch(self, leave: Callable[[LauncherError], None]) -> None:
        """Return: nobody can be lost."""

    def part(self, *, stopped: bool = False) -> None:
        """Return at once."""

    def wait_for_end(self) -> bool:
        """Return at once."""
        return True


def meet(context: TaskContext, deadline: float, waiting: Tell) -> Meeting:
    """Wait until every task of the cluster is there.

    ``deadline`` is in seconds of ``time.monotonic``; ``waiting`` is called every few seconds with the names of the
    missing tasks. Raises FormationError, which names them, when the deadline has passed; PeerFailed where another task
    fails meanwhile.
    """
    if not context.rendezvous:
        return Alone(context)
    return (Leader if context.is_leader else Member)(context, deadline, waiting)
