"""The members that are connected to a leader, and who may become one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from secrets import compare_digest
from typing import Any

from launcher.contract.context import TaskContext
from launcher.contract.roles import ROLES, Quorum, Role
from launcher.contract.task import Task
from launcher.contract.version import mismatch


class Stage(Enum):
    """Where one member is."""

    JOINED = auto()
    PREPARING = auto()  # it was told where to resume
    PREPARED = auto()
    STARTED = auto()  # it was told to go
    DISMISSED = auto()  # it was told why it may, or must, leave


@dataclass
class Member:
    """A member that is connected; times are in seconds of the leader's clock."""

    name: str
    holds: frozenset[str]  # identities of the checkpoints that it has
    heard_at: float  # when it sent its last message
    inform_at: float  # when it is to hear who is missing, or that the leader lives
    stage: Stage = Stage.JOINED


class Members:
    """All tasks that should meet one leader, by name, and those that are connected, by the number of the connection."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self.left_out = context.left_out
        self.roles: dict[str, Role] = {
            str(task): ROLES[context.mode][task.job] for task in context.members if task != context.task
        }
        self.here: dict[int, Member] = {}
        self._refused: dict[str, str] = {}  # who runs another version, and the sentence about it

    def of(self, *stages: Stage) -> dict[int, Member]:
        """Return those that are here and in one of these stages."""
        return {connection: member for connection, member in self.here.items() if member.stage in stages}

    def absent(self) -> list[str]:
        """Return who is not here."""
        return sorted(self.roles.keys() - {member.name for member in self.here.values()})

    def missing(self) -> list[str]:
        """Return who is not here; if all are, who is not prepared."""
        return self.absent() or sorted(member.name for member in self.of(Stage.JOINED, Stage.PREPARING).values())

    def refusal(self, name: str, hello: Mapping[str, Any]) -> str:
        """Return why the sender of a hello may not join; empty if it may."""
        token = str(hello.get("token")).encode(errors="replace")
        if not compare_digest(token, self._context.token.encode()):
            return "this rendezvous belongs to another run, or the cluster files differ"
        if differs := mismatch(name, str(self._context.task), hello):
            self._refused[name] = differs
            return differs
        if name in self.roles:
            return ""
        if name in map(str, self.left_out):
            return f"the run continues without {name}"
        return f"{name} is not a task of this cluster"

    def join(self, connection: int, member: Member) -> list[int]:
        """Take a member in; return the connection that it came by before, of a process that has ended since."""
        before = [old for old, there in self.here.items() if there.name == member.name]
        for old in before:
            del self.here[old]
        self.here[connection] = member
        self._refused.pop(member.name, None)
        return before

    def described(self, names: Collection[str]) -> list[str]:
        """Return the names, with the reason if one was refused because of its version."""
        return [f"{name} (refused: {self._refused[name]})" if name in self._refused else name for name in names]

    def can_spare(self, names: Collection[str]) -> bool:
        """Whether the others are enough to continue without these."""
        tasks = [self._context.task, *map(Task.parse, self.roles)]
        quorum = Quorum.of(tasks, self._context.fewest_workers, self._context.leader)
        return quorum.holds_without([Task.parse(name) for name in names])

    def leave_out(self, names: Collection[str]) -> dict[int, Member]:
        """Continue without these; return those of them that are here."""
        self.left_out += tuple(map(Task.parse, names))
        for name in names:
            del self.roles[name]
        unprepared = {connection: member for connection, member in self.here.items() if member.name in names}
        for connection in unprepared:
            del self.here[connection]
        return unprepared
