"""Leading: what a leader decides, as a reducer over events.

``handle`` takes one event and the time, and returns the actions that follow. There are no sockets, no threads and no
clock in here, so that recorded histories can be replayed. ``Leader`` carries the actions out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from enum import Enum, auto
from typing import Any

from launcher.contract.context import TaskContext
from launcher.runtime.checkpoint.saved import Offer
from launcher.runtime.failure import PeerGone
from launcher.runtime.rendezvous.ending import Ending
from launcher.runtime.rendezvous.events import (
    Action,
    Agenda,
    Announce,
    Close,
    Event,
    Extended,
    Failed,
    FindHosts,
    Finished,
    Formed,
    HangUp,
    Heard,
    HostsFound,
    Lost,
    OwnEvent,
    Send,
    SendFiles,
    Sent,
    Tick,
    Verified,
    Verifying,
    Watching,
    Welcome,
)
from launcher.runtime.rendezvous.members import Member, Members, Stage
from launcher.runtime.rendezvous.messages import (
    ALIVE_EVERY,
    HELLO_TIMEOUT,
    PROGRESS,
    SAY_EVERY,
    not_formed,
    peer_failed,
)
from launcher.text import printable

_MOST_SAID = 120  # characters of what a member says about itself
_ANNOUNCE_FIRST = 1.0  # seconds until the first line about who is missing
_INFORM_EVERY = 1.0  # seconds between two messages to a member about who is missing
# Seconds without a heartbeat after which a serving task is lost: it runs none of the user's code that could hold
# Python's lock. Tasks that train may be silent; TensorFlow's own heartbeats watch those.
_SERVES_SILENTLY = 20.0


class Phase(Enum):
    """Where the meeting is."""

    MEETING = auto()  # members come, and get prepared
    HOSTS = auto()  # all are prepared; this task looks up every task's address
    STARTING = auto()  # all are told to go
    STARTED = auto()  # all have been told


class Leading:
    """The state of a meeting and what follows from each event.

    Members come while this task still verifies the checkpoint that all resume from (``Verified``). The cluster must
    have formed by ``deadline``, which moves on while a checkpoint is verified, sent or received.
    """

    def __init__(self, context: TaskContext, deadline: float, now: float) -> None:
        self._context = context
        self._offer: Offer | None = None
        self._verifying = "verifying its checkpoint"
        self._agenda, self._members = Agenda(now), Members(context)
        self._ending = Ending(self._members, self._agenda)
        self._phase = Phase.MEETING
        self._deadline = self._asked_deadline = deadline
        self._patience = (now + deadline) / 2  # until then those that may be missing are waited for
        self._announce_at = now + _ANNOUNCE_FIRST
        self._unsent: set[int] = set()  # connections whose go is not on its way
        self._unsent_until = math.inf

    @property
    def wake_at(self) -> float:
        """When the next Tick is due."""
        return self._agenda.wake_at

    def handle(self, event: Event, now: float) -> Sequence[Action]:
        """Take one event in and return what follows from it.

        What depends on all members follows from the next Tick, which is due at once unless this was a heartbeat.
        """
        if not (isinstance(event, Heard) and event.message.get("alive")):
            self._agenda.wake(-math.inf)
        match event:
            case Heard():
                self._heard(event.connection, event.message, now)
            case Lost():
                self._lost(event.connection, now)
            case Sent():
                self._unsent.discard(event.connection)
            case Tick():
                self._agenda.wake_at = math.inf
                self._look_for_silence(now)
                self._advance(now)
            case _:
                self._did(event, now)
        return self._agenda.take()

    def _did(self, event: OwnEvent, now: float) -> None:
        """Take in what this task has done."""
        match event:
            case Verifying():
                self._verifying = event.progress
                self._extend(now)
            case Verified():
                self._offer = event.offer
            case HostsFound():
                self._phase = Phase.MEETING if self._missing() else Phase.STARTING
                self._unsent_until = now + HELLO_TIMEOUT
            case Watching():
                self._ending.watch()
            case Finished():
                self._ending.finish(now, stopped=event.stopped)
            case Failed():
                self._ending.fail(event.failure, now)

    # What a connection brings

    def _heard(self, connection: int, message: Mapping[str, Any], now: float) -> None:
        member = self._members.here.get(connection)
        if member is None:
            self._greeted(connection, message, now)
            return
        member.heard_at = now
        if "failed" in message:
            self._ending.member_failed(connection, peer_failed(message), now)
        elif member.stage is Stage.PREPARING:
            self._prepares(connection, member, message, now)
        elif message.get("finished"):
            self._ending.member_finished(member.name)

    def _prepares(self, connection: int, member: Member, message: Mapping[str, Any], now: float) -> None:
        if message.get("prepared"):
            member.stage, member.busy = Stage.PREPARED, ""
        elif message.get("lacks"):
            self._agenda.act(SendFiles(connection))
        elif "busy" in message:
            member.busy = printable(str(message["busy"]))[:_MOST_SAID]
            self._extend(now)

    def _greeted(self, connection: int, message: Mapping[str, Any], now: float) -> None:
        """Hear who a connection is; only who proves it changes anything but a line."""
        handshake = self._members.greeted(connection)
        if handshake is None:
            answer = self._members.greet(connection, message)
        elif not (answer := self._members.refusal(handshake, message)):
            self._introduced(connection, handshake.member, now)
            return
        self._agenda.act(Send(connection, answer))
        if "refused" in answer:
            self._agenda.act(HangUp(connection))

    def _introduced(self, connection: int, name: str, now: float) -> None:
        if reason := self._ending.reason:
            self._agenda.say_last(connection, **reason)
        elif self._formed and not self._members.roles[name].restarts_alone:
            # It belongs to the next attempt, whose leader it will look for: this attempt is over.
            self._agenda.say_last(connection, waiting=[str(self._context.task)])
            self._ending.lose(PeerGone(f"{name} has started again", name), now)
        else:
            self._join(connection, name, now)

    def _join(self, connection: int, name: str, now: float) -> None:
        member = Member(name, heard_at=now, inform_at=now + _INFORM_EVERY)
        for old in self._members.join(connection, member):
            self._unsent.discard(old)
            self._agenda.act(Close(old))
        self._ending.member_came(name)
        self._agenda.act(Welcome(connection))

    def _lost(self, connection: int, now: float, silent: str = "") -> None:
        self._unsent.discard(connection)
        self._members.greeted(connection)
        member = self._members.here.pop(connection, None)
        if member and self._formed:  # otherwise its loss is known, or it is only missing again
            self._ending.member_went(member.name, now, silent)

    def _look_for_silence(self, now: float) -> None:
        for connection, member in self._members.of(Stage.STARTED).items():
            if self._members.roles[member.name].serves and self._agenda.due(member.heard_at + _SERVES_SILENTLY, now):
                silent = f"has been silent for {_SERVES_SILENTLY:g} s"
                # If it was only suspended, it reads this first, and does not blame this task for the end.
                self._agenda.act(Send(connection, {"lost": f"{member.name} {silent}", "peer": member.name}))
                self._agenda.act(Close(connection))
                self._lost(connection, now, silent)

    # The meeting

    def _advance(self, now: float) -> None:
        if self._ending.reason is None:
            self._meet(now)
        self._inform(now)
        self._ending.advance(now, started=self._phase is Phase.STARTED)

    @property
    def _formed(self) -> bool:
        return self._phase in (Phase.STARTING, Phase.STARTED)

    def _meet(self, now: float) -> None:
        if self._offer and (self._formed or not self._members.absent()):
            for connection, member in self._members.of(Stage.JOINED).items():
                self._prepare(connection, member, self._offer, now)
        if self._phase is Phase.MEETING:
            self._wait_for_members(now)
        if self._formed:
            for connection, member in self._members.of(Stage.PREPARED).items():
                self._start(connection, member, now)
        # Building a MultiWorkerMirroredStrategy holds Python's lock until all peers have connected: a member that has
        # not heard the go by then never would.
        if self._phase is Phase.STARTING and (not self._unsent or self._agenda.due(self._unsent_until, now)):
            self._phase = Phase.STARTED
            self._agenda.act(Formed(self._members.left_out))

    def _wait_for_members(self, now: float) -> None:
        missing = self._missing()
        if not missing:
            self._phase = Phase.HOSTS
            self._agenda.act(FindHosts(self._members.left_out))
        elif (
            self._offer
            and self._context.fewest_workers
            and self._agenda.due(self._patience, now)
            and self._members.can_spare(missing)
        ):
            for connection, member in self._members.leave_out(missing).items():
                self._agenda.say_last(connection, refused=f"the run continues without {member.name}")
            self._meet(now)
        elif self._agenda.due(self._deadline, now):
            self._ending.leave(not_formed(self._described(missing)))
        elif self._offer is None:
            return  # this task says itself what it does, as it does nothing else
        elif self._agenda.due(self._announce_at, now):
            self._announce_at = self._agenda.wake(now + SAY_EVERY)
            self._agenda.act(Announce(self._described(missing)))

    def _missing(self) -> list[str]:
        """Return who is not here, or not prepared."""
        return self._members.missing() if self._offer else [*self._members.absent(), str(self._context.task)]

    def _described(self, names: Collection[str]) -> list[str]:
        own = str(self._context.task)
        return [f"{own} ({self._verifying})" if name == own else name for name in self._members.described(names)]

    def _extend(self, now: float) -> None:
        """Wait on while a checkpoint is verified, sent or received, as long as that goes on."""
        self._patience = max(self._patience, now + PROGRESS / 2)
        if now + PROGRESS >= self._deadline + SAY_EVERY:  # not each second
            self._deadline = now + PROGRESS
            if self._offer:
                self._agenda.act(Extended(PROGRESS))

    def _prepare(self, connection: int, member: Member, offer: Offer, now: float) -> None:
        """Tell the member where to resume; it says if it lacks the checkpoint's files."""
        member.stage = Stage.PREPARING
        self._patience = max(self._patience, (now + self._deadline) / 2)
        # Asynchronous tasks hear the step alone: the coordinator restores for all.
        told = {"step": offer.step} if self._context.mode == "async" else offer.to_dict()
        self._agenda.act(Send(connection, {"prepare": told, "without": self._without}))

    def _start(self, connection: int, member: Member, now: float) -> None:
        member.stage, member.heard_at, member.inform_at = Stage.STARTED, now, now + ALIVE_EVERY
        self._unsent.add(connection)
        self._agenda.act(Send(connection, {"go": True, "without": self._without}, confirm=True))

    @property
    def _without(self) -> list[str]:
        return list(map(str, self._members.left_out))

    def _inform(self, now: float) -> None:
        """Tell each member who is missing, or, once it has started, that this task lives.

        Writing also finds out that a member has gone.
        """
        listeners = self._members.of(Stage.JOINED, Stage.PREPARED, Stage.STARTED).items()
        due = [(connection, member) for connection, member in listeners if self._agenda.due(member.inform_at, now)]
        waiting: dict[str, Any] = {"waiting": self._described(self._missing()) if due else []}
        if self._deadline > self._asked_deadline:
            waiting["left"] = round(self._deadline - now, 1)
        for connection, member in due:
            started = member.stage is Stage.STARTED
            member.inform_at = self._agenda.wake(now + (ALIVE_EVERY if started else _INFORM_EVERY))
            self._agenda.act(Send(connection, {"alive": True} if started else waiting))
