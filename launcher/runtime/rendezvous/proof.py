"""How two tasks prove to each other that they have the same key, which never travels.

Each side answers the other's fresh number with a keyed digest of both numbers, so that no answer can be used again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from launcher.contract.version import PROTOCOL
from launcher.text import shown


def nonce() -> str:
    """Return a number that is used once."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Handshake:
    """One member's introduction to one leader: the key, their names, and the number that each has chosen."""

    key: str = field(repr=False)
    leader: str
    member: str
    asked_by_member: str
    asked_by_leader: str

    def leader_proof(self) -> str:
        """Return what only a leader with the key can say."""
        return self._proof("leader")

    def member_proof(self) -> str:
        """Return what only a member with the key can say."""
        return self._proof("member")

    def is_leader(self, message: Mapping[str, Any]) -> bool:
        """Whether the message proves that a leader with this key sent it."""
        return _equal(message.get("proof"), self.leader_proof())

    def is_member(self, message: Mapping[str, Any]) -> bool:
        """Whether the message proves that a member with this key sent it."""
        return _equal(message.get("proof"), self.member_proof())

    def _proof(self, side: str) -> str:
        said = json.dumps([side, PROTOCOL, self.leader, self.member, self.asked_by_member, self.asked_by_leader])
        return hmac.new(self.key.encode(errors="replace"), said.encode(), hashlib.sha256).hexdigest()


def _equal(said: object, expected: str) -> bool:
    return hmac.compare_digest(shown(said).encode(errors="replace"), expected.encode())
