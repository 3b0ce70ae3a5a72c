"""What tasks send each other at the rendezvous: JSON objects, one per line.

A member sends           task, nonce,           who it is
                         version, launcher
                         proof                  that it has the leader's key (proof.py)
                         lacks                  it has not got the checkpoint, or only a damaged copy
                         busy                   how far it is with verifying or receiving the checkpoint, every second
                         prepared               it has all that it needs for the start
                         alive                  heartbeat, once all have met
                         finished               it has trained its last step
                         failed, exit_code, own why it ends, in a way that a restart would not help
The leader sends         nonce, proof,          that it has the member's key; the member proves the same
                         version, launcher
                         refused,               why the task may not join
                         version, launcher
                         waiting, left          who is missing, every second; seconds left, if more than at first
                         prepare, without       the checkpoint that all resume from; which workers are left out. Once
                                                the member says that it lacks it, its files' content follows
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
from launcher.text import printable

HELLO_LIMIT = 4096  # bytes; a longer first line is not a member's
HELLO_TIMEOUT = 5.0  # seconds that the other side may be silent before all have met
ALIVE_EVERY = 5.0  # seconds between two heartbeats
PROGRESS = 30.0  # seconds without progress of who verifies, sends or receives a checkpoint; until then it is waited for
SAY_EVERY = 5.0  # seconds between two lines about who is missing
SILENCE = 60.0  # seconds without a heartbeat after which a member takes its leader for lost

LONGEST = 1 << 20  # bytes of a line

_MOST_WORDS = 20_000  # characters of a task's error, none of which takes more than 12 bytes of a line

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

    def message(self, limit: int = LONGEST) -> dict[str, Any] | None:
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
    words = str(failure)
    if len(words) > _MOST_WORDS:
        words = f"{words[:_MOST_WORDS]}… (the log of that task has the rest)"
    return {"failed": words, "exit_code": failure.exit_code, "own": failure.own}


def peer_failed(message: Mapping[str, Any]) -> PeerFailed:
    """Return the error that a message with ``failed`` reports."""
    code = message.get("exit_code")
    return PeerFailed(str(message["failed"]), code if isinstance(code, int) else 1, own=bool(message.get("own")))


def names(message: Mapping[str, Any], key: str) -> list[str]:
    """Return a list of names in a message; ValueError if it is none."""
    found = message.get(key, [])
    if not isinstance(found, list):
        raise ValueError(f"{key} is no list")  # noqa: TRY004  # one of NONSENSE
    return [printable(str(name)) for name in found]


def not_formed(missing: Collection[str]) -> FormationError:
    """Return the error that names the missing tasks."""
    return FormationError(f"the cluster did not form in time (run.start_timeout); missing: {', '.join(missing)}")
