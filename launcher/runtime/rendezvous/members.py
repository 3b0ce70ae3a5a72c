"""The members that are connected to a leader, and who may become one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from launcher.contract.context import TaskContext
from launcher.contract.roles import ROLES, Quorum, Role
from launcher.contract.task import Task
from launcher.contract.version import mismatch, own_version
from launcher.runtime.rendezvous.proof import Handshake, nonce
from launcher.text import shown


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
    heard_at: float  # when it sent its last message
    inform_at: float  # when it is to hear who is missing, or that the leader lives
    stage: Stage = Stage.JOINED
    busy: str = ""  # what it does with the checkpoint, and how far it is


class Members:
    """All tasks that should meet one leader, by name, and those that are connected, by the number of the connection."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self.left_out = context.left_out
        self.roles: dict[str, Role] = {
            str(task): ROLES[context.mode][task.job] for task in context.members if task != context.task
        }
        self.here: dict[int, Member] = {}
        self._handshakes: dict[int, Handshake] = {}  # of connections that have not proved yet who they are
        self._refused: dict[str, str] = {}  # who runs another version or has another key, and the sentence about it

    def of(self, *stages: Stage) -> dict[int, Member]:
        """Return those that are here and in one of these stages."""
        return {connection: member for connection, member in self.here.items() if member.stage in stages}

    def absent(self) -> list[str]:
        """Return who is not here."""
        return sorted(self.roles.keys() - {member.name for member in self.here.values()})

    def missing(self) -> list[str]:
        """Return who is not here; if all are, who is not prepared."""
        return self.absent() or sorted(member.name for member in self.of(Stage.JOINED, Stage.PREPARING).values())

    def greet(self, connection: int, hello: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a hello: this task's proof, or why the sender cannot join."""
        name = shown(hello.get("task"))
        if differs := mismatch(name, str(self._context.task), hello):
            return self._refuse(name, differs)
        handshake = Handshake(
            self._context.token, str(self._context.task), name, shown(hello.get("nonce")), asked_by_leader=nonce()
        )
        self._handshakes[connection] = handshake
        return {"nonce": handshake.asked_by_leader, "proof": handshake.leader_proof(), **own_version()}

    def greeted(self, connection: int) -> Handshake | None:
        """Return, once, how a connection has introduced itself."""
        return self._handshakes.pop(connection, None)

    def refusal(self, handshake: Handshake, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return why the sender of an answer may not join; empty if it may."""
        name = handshake.member
        if not handshake.is_member(answer):
            return self._refuse(name, f"{name} has another key than {self._context.task}")
        if name in self.roles:
            return {}
        if name in map(str, self.left_out):
            return {"refused": f"the run continues without {name}"}
        return {"refused": f"{name} is not a task of this cluster"}

    def _refuse(self, name: str, why: str) -> dict[str, Any]:
        if name in self.roles:  # whatever others call themselves is not kept
            self._refused[name] = why
        return {"refused": why, **own_version()}

    def join(self, connection: int, member: Member) -> list[int]:
        """Take a member in; return the connection that it came by before, of a process that has ended since."""
        before = [old for old, there in self.here.items() if there.name == member.name]
        for old in before:
            del self.here[old]
        self.here[connection] = member
        self._refused.pop(member.name, None)
        return before

    def described(self, names: Collection[str]) -> list[str]:
        """Return the names, with why one was refused, or what it does with the checkpoint."""
        doing = {member.name: member.busy for member in self.here.values() if member.busy}
        doing |= {name: f"refused: {why}" for name, why in self._refused.items()}
        return [f"{name} ({doing[name]})" if name in doing else name for name in names]

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
