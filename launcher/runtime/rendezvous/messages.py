"""What tasks send each other at the rendezvous: JSON objects, one per line.

A member sends           task, token, holds,    who it is, and which checkpoints it has
                         version, launcher
                         prepared               it has all that it needs for the start
                         alive                  heartbeat, once all have met
                         finished               it has trained its last step
                         failed, exit_code, own why it ends, in a way that a restart would not help
The leader sends         refused                why the task may not join
                         waiting                who is missing, every second
                         prepare, without,      the checkpoint that all resume from, followed by its files if the
                         version, launcher      member lacks them; which workers are left out
                         go, without            all have met
                         alive                  heartbeat
                         end, stopped           all may leave; whether the run was stopped before its last step
                         lost, peer             which task was lost, so that all must meet again
                         failed, exit_code, own as above, of any task
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from launcher.errors import FormationError
from launcher.runtime.failure import PeerFailed

HELLO_LIMIT = 4096  # bytes; a longer first line is not a member's
HELLO_TIMEOUT = 5.0  # seconds that the other side may be silent before all have met
ALIVE_EVERY = 5.0  # seconds between two heartbeats
SAY_EVERY = 5.0  # seconds between two lines about who is missing
SILENCE = 60.0  # seconds without a heartbeat after which a member takes its leader for lost

_LONGEST = 1 << 20  # bytes of a line

NONSENSE = (ValueError, RecursionError)  # what Inbox.message raises for anything but our messages


def encoded(message: Mapping[str, Any]) -> bytes:
    """Return a message as it is sent."""
    return (json.dumps(message) + "\n").encode()


class Inbox:
    """The bytes that arrived on one connection and were not taken yet."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def put(self, data: bytes) -> None:
        """Add what has arrived."""
        self._bytes += data

    def message(self, limit: int = _LONGEST) -> dict[str, Any] | None:
        """Take the next message; None if its line is not complete yet.

        A line that is no JSON object is an empty message. Raises one of NONSENSE if it is no JSON at all, or longer
        than ``limit`` bytes.
        """
        end = self._bytes.find(b"\n", 0, limit)
        if end < 0:
            if len(self._bytes) >= limit:
                raise ValueError(f"a line of more than {limit} bytes")
            return None
        content = json.loads(self.take(end + 1))
        return content if isinstance(content, dict) else {}

    def take(self, count: int) -> bytes:
        """Take at most ``count`` bytes."""
        taken = bytes(self._bytes[:count])
        del self._bytes[:count]
        return taken


def failure_message(failure: PeerFailed) -> dict[str, Any]:
    """Return the message about a task's failure."""
    return {"failed": str(failure), "exit_code": failure.exit_code, "own": failure.own}


def peer_failed(message: Mapping[str, Any]) -> PeerFailed:
    """Return the error that a message with ``failed`` reports."""
    code = message.get("exit_code")
    return PeerFailed(str(message["failed"]), code if isinstance(code, int) else 1, own=bool(message.get("own")))


def not_formed(missing: Collection[str]) -> FormationError:
    """Return the error that names the missing tasks."""
    return FormationError(f"the cluster did not form in time (run.start_timeout); missing: {', '.join(missing)}")
