"""What tasks say to each other at the rendezvous: JSON objects, one a line.

A member says            task, token, holds     who it is, and which checkpoints it has
                         prepared               it has all it needs for the start
                         alive                  every few seconds, once all have met
                         finished               it has trained its last step
                         failed, exit_code, own why it ends, and that starting again would not help
The leader says          refused                why this is the wrong place
                         waiting                who is missing, every second
                         prepare, without       the checkpoint that all resume from; its files follow, where wanted
                         go, without            all have met
                         alive                  every few seconds
                         end, stopped           all may leave; whether the run was stopped before its last step
                         lost, peer             which task has gone, so that all must meet again
                         failed, exit_code, own as above, of whichever task
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, BinaryIO

from launcher.contract.context import TaskContext
from launcher.errors import FormationError
from launcher.runtime.failure import PeerFailed

HELLO_LIMIT = 4096  # bytes; a longer first line is not one of ours
HELLO_TIMEOUT = 5.0  # seconds that a connection may stay silent
ALIVE_EVERY = 5.0  # seconds between two signs of life
SAY_EVERY = 5.0  # seconds between two lines about who is missing
SILENCE = 60.0  # seconds without a sign of life after which a task takes another for lost

NONSENSE = (ValueError, RecursionError)  # what json.loads raises for what is none of ours

Tell = Callable[[Collection[str]], None]


def send(connection: socket.socket, **message: Any) -> None:
    """Send one message; OSError where the other side has gone."""
    connection.sendall((json.dumps(message) + "\n").encode())


def messages(lines: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield the messages that arrive until the other side closes; a last line that broke off says nothing."""
    while (line := lines.readline()).endswith(b"\n"):
        message = json.loads(line)
        if isinstance(message, dict):
            yield message


def peer_failed(message: Mapping[str, Any]) -> PeerFailed:
    """Return the error that a message with ``failed`` tells of."""
    return PeerFailed(str(message["failed"]), int(message.get("exit_code", 1)), own=bool(message.get("own")))


def not_formed(missing: Collection[str]) -> FormationError:
    """Return the error that names who never came."""
    return FormationError(f"the cluster did not form in time (run.start_timeout); missing: {', '.join(missing)}")


def find_hosts(context: TaskContext, deadline: float, waiting: Tell) -> None:
    """Wait until every task's host has an address here; FormationError names those that have none at the deadline.

    TensorFlow would wait for such a task in silence.
    """
    say_at = time.monotonic() + SAY_EVERY
    while unknown := [
        f"{task} (no address is known here for {_host(context.cluster[task.job][task.index])})"
        for task in context.members
        if not _is_known(_host(context.cluster[task.job][task.index]))
    ]:
        now = time.monotonic()
        if now >= deadline:
            raise not_formed(unknown)
        if now >= say_at:
            waiting(unknown)
            say_at = now + SAY_EVERY
        time.sleep(min(0.5, deadline - now))


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _is_known(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
