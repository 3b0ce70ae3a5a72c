"""Rendezvous: the tasks of a cluster meet before any TensorFlow server starts, and leave together.

The leader listens; every member connects, names itself, and hears who is missing until all are there. Then each gets
ready: it finds every task's host, and has the checkpoint that all resume from. The same connection is open as long as
the run: it shows at once when a task is lost, which TensorFlow finds out in ten seconds or never, it carries the reason
if a task fails for good, and it agrees on the end.
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
from launcher.runtime.rendezvous.messages import PROGRESS
from launcher.runtime.rendezvous.waiting import Extend, Tell, Wait


class Meeting(Protocol):
    """One task's part in the rendezvous. A context manager: it waits until all have met.

    Entering it raises FormationError, which names the missing tasks, when the deadline has passed; PeerFailed if
    another task fails meanwhile. An error in its block is sent to all.
    """

    step: int  # from which all resume
    left_out: tuple[Task, ...]  # workers that the others continue without

    def __enter__(self) -> Self:
        """Wait until every task of the cluster is there."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Tell the others why this task ends, if a restart would not help."""

    def watch(self, leave: Callable[[LauncherError], None]) -> None:
        """From now on call ``leave``, from another thread, as soon as this task can only fail."""

    def finish(self, *, stopped: bool = False) -> None:
        """Say that this task has finished, and return when all may leave."""

    def wait_for_end(self) -> bool:
        """Serve until the leader says that this task is no longer needed; return whether the run came to its end."""


class Alone:
    """The meeting of a task that has no other task to meet."""

    def __init__(self, context: TaskContext, wait: Wait) -> None:
        self.step, self.left_out = 0, context.left_out
        self._task, self._wait = context.task, wait
        self._files = CheckpointFiles(RunFiles(Path(context.run_directory)).checkpoints)

    def __enter__(self) -> Self:
        newest = self._files.newest_sound(partial(print, flush=True), self._watch)
        self.step = newest.step if newest else 0
        return self

    def _watch(self, progress: str) -> None:
        self._wait.extend(PROGRESS)
        self._wait.check([f"{self._task} ({progress})"])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Do nothing: there is no other task."""

    def watch(self, leave: Callable[[LauncherError], None]) -> None:
        """Do nothing: no other task can be lost."""

    def finish(self, *, stopped: bool = False) -> None:
        """Return at once."""

    def wait_for_end(self) -> bool:
        """Return at once."""
        return True


def meeting(context: TaskContext, deadline: float, tell: Tell, extended: Extend = lambda _: None) -> Meeting:
    """Return this task's part in the rendezvous, to be entered.

    ``deadline`` is in seconds of ``time.monotonic``; ``tell`` is called every few seconds with the names of the missing
    tasks, ``extended`` with the seconds that are left when the deadline moves on, since a checkpoint of gigabytes is
    verified, sent or received.
    """
    if not context.rendezvous:
        return Alone(context, Wait(deadline, tell, extended))
    return (Leader if context.is_leader else Member)(context, deadline, tell, extended)
