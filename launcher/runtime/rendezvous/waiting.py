"""Waiting until a deadline for tasks and hosts, whose names are announced every few seconds."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Collection

from launcher.contract.context import TaskContext
from launcher.errors import LauncherError
from launcher.runtime.rendezvous.messages import SAY_EVERY, not_formed

Tell = Callable[[Collection[str]], None]  # is called with the names of the missing tasks
Extend = Callable[[float], None]  # is called with the seconds that are left, when they become more

_LOOK_EVERY = 0.5  # seconds between two questions for an address


class Wait:
    """A wait with a deadline, in seconds of ``time.monotonic``; ``tell`` is called every few seconds.

    ``extended`` is called when the deadline moves.
    """

    def __init__(self, deadline: float, tell: Tell, extended: Extend = lambda _: None) -> None:
        self._deadline, self._tell, self._extended = deadline, tell, extended
        self._tell_at = time.monotonic() + SAY_EVERY

    def check(self, missing: Collection[str], *, aloud: bool = True) -> None:
        """Announce the missing if it is time to, and ``aloud``; FormationError, which names them, at the deadline."""
        now = time.monotonic()
        if now >= self._deadline:
            raise not_formed(missing)
        if aloud and now >= self._tell_at:
            self._tell(missing)
            self._tell_at = now + SAY_EVERY

    def extend(self, seconds: float) -> None:
        """Wait at least so long from now: a checkpoint is verified, sent or received."""
        until = time.monotonic() + seconds
        if until >= self._deadline + SAY_EVERY:  # not each second
            self._deadline = until
            self._extended(seconds)

    def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the deadline."""
        time.sleep(max(0.0, min(seconds, self._deadline - time.monotonic())))


def find_hosts(context: TaskContext, wait: Wait) -> None:
    """Wait until every task's host has an address here; FormationError names those that have none at the deadline.

    TensorFlow would wait for such a task without a message.
    """
    while unknown := [
        f"{task} (no address is known here for {_host(context.cluster[task.job][task.index])})"
        for task in context.members
        if not _is_known(_host(context.cluster[task.job][task.index]))
    ]:
        wait.check(unknown)
        wait.sleep(_LOOK_EVERY)


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _is_known(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):  # UnicodeError: no host can be called that
        return False
    return True


def start_thread(thread: threading.Thread) -> None:
    """Start a thread of the rendezvous; LauncherError if this machine lets no more of them start."""
    try:
        thread.start()
    except RuntimeError as error:
        raise LauncherError(f"the rendezvous needs a thread: {error}") from None
