"""The version of the messages that tasks send each other, and the sentence about two that differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher import __version__
from launcher.text import shown

# Raised when a message of the rendezvous changes so that older tasks would misunderstand it. Before protocol 3 a leader
# refused a task without saying its version.
PROTOCOL = 3


def own_version() -> dict[str, Any]:
    """Return what this task's first message carries: the protocol, and the launcher's version for people."""
    return {"version": PROTOCOL, "launcher": __version__}


def mismatch(peer: str, own: str, message: Mapping[str, Any]) -> str:
    """Return a sentence if the message's protocol is not this one; empty if it is.

    ``peer`` is the name of the task that sent the message, ``own`` that of this task.
    """
    if message.get("version") == PROTOCOL:
        return ""
    theirs, ours = _shown(message), _shown(own_version())
    return f"{peer} runs {theirs}, {own} runs {ours}: install the same version on every machine"


def _shown(message: Mapping[str, Any]) -> str:
    if "version" not in message:
        return f"an older launcher (before protocol {PROTOCOL})"
    return f"launcher {shown(message.get('launcher'))[:20]} (protocol {shown(message['version'])[:20]})"
