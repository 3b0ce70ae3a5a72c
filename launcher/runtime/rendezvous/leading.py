"""Leading: what a leader decides, as a reducer over events.

``handle`` takes one event and the time, and returns the actions that follow. There are no sockets, no threads and no
clock in here, so that recorded histories can be replayed. ``Leader`` carries the actions out.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from launcher.contract.context import TaskContext
from launcher.errors import LauncherError
from launcher.runtime.checkpoint.files import Offer
from launcher.runtime.failure import PeerFailed, PeerGone
from launcher.runtime.rendezvous.events import (
    Action,
    Announce,
    Close,
    Done,
    Event,
    Extended,
    Failed,
    FindHosts,
    Finished,
    Formed,
    HangUp,
    Heard,
    HostsFound,
    Leave,
    Lost,
    NoteLoss,
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
    failure_message,
    not_formed,
    peer_failed,
)
from launcher.runtime.rendezvous.states import Finish, Goodbye, Phase
from launcher.text import printable

_MOST_SAID = 120  # characters of what a member says about itself
GOODBYE = 2.0  # seconds that members get to hear why the run has failed
_ANNOUNCE_FIRST = 1.0  # seconds until the first line about who is missing
_INFORM_EVERY = 1.0  # seconds between two messages to a member about who is missing
_FINISH_TIMEOUT = 60.0  # seconds that a leader waits at the end for tasks that have just run the same step
# Seconds without a heartbeat after which a serving task is lost: it runs none of the user's code that could hold
# Python's lock. Tasks that train may be silent; TensorFlow's own heartbeats watch those.
_SERVES_SILENTLY = 20.0


class Leading:
    """The state of a meeting and what follows from each event.

    Members come while this task still verifies the checkpoint that all resume from (``Verified``). The cluster must
    have formed by ``deadline``, which moves on while a checkpoint is verified, sent or received.
    """

    def __init__(self, context: TaskContext, deadline: float, now: float) -> None:
        self._context = context
        self._offer: Offer | None = None
        self._verifying = "verifying its checkpoint"
        self.wake_at = now  # when the next Tick is due
        self._members = Members(context)
        self._finished: set[str] = set()
        self._gone: set[str] = set()  # their connection was closed, after all had met
        self._phase = Phase.MEETING
        self._deadline = self._asked_deadline = deadline
        self._patience = (now + deadline) / 2  # until then those that may be missing are waited for
        self._announce_at = now + _ANNOUNCE_FIRST
        self._unsent: set[int] = set()  # connections whose go is not on its way
        self._unsent_until = math.inf
        self._watched = self._left = False  # whether this task can be told to leave; whether it was
        self._goodbye: Goodbye | None = None
        self._finish: Finish | None = None
        self._actions: list[Action] = []

    def handle(self, event: Event, now: float) -> Sequence[Action]:
        """Take one event in and return what follows from it.

        What depends on all members follows from the next Tick, which is due at once unless this was a heartbeat.
        """
        if not (isinstance(event, Heard) and event.message.get("alive")):
            self._wake(-math.inf)
        match event:
            case Heard():
                self._heard(event.connection, event.message, now)
            case Lost():
                self._lost(event.connection, now)
            case Sent():
                self._unsent.discard(event.connection)
            case Tick():
                self.wake_at = math.inf
                self._look_for_silence(now)
                self._advance(now)
            case _:
                self._did(event, now)
        actions, self._actions = self._actions, []
        return actions

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
                self._watched = True
            case Finished():
                self._finish = Finish(event.stopped, now + _FINISH_TIMEOUT)
            case Failed():
                self._left = True  # this task leaves with its own error
                self._fail(event.failure, now, Done())

    # What a connection brings

    def _heard(self, connection: int, message: Mapping[str, Any], now: float) -> None:
        member = self._members.here.get(connection)
        if member is None:
            self._greeted(connection, message, now)
            return
        member.heard_at = now
        if "failed" in message:
            self._member_failed(connection, peer_failed(message), now)
        elif member.stage is Stage.PREPARING:
            self._prepares(connection, member, message, now)
        elif message.get("finished"):
            self._finished.add(member.name)

    def _prepares(self, connection: int, member: Member, message: Mapping[str, Any], now: float) -> None:
        if message.get("prepared"):
            member.stage, member.busy = Stage.PREPARED, ""
        elif message.get("lacks"):
            self._act(SendFiles(connection))
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
        self._act(Send(connection, answer))
        if "refused" in answer:
            self._act(HangUp(connection))

    def _introduced(self, connection: int, name: str, now: float) -> None:
        if self._goodbye:
            self._say_last(connection, **self._goodbye.message)
        elif self._formed and not self._members.roles[name].restarts_alone:
            # It belongs to the next attempt, whose leader it will look for: this attempt is over.
            self._say_last(connection, waiting=[str(self._context.task)])
            self._lose(PeerGone(f"{name} has started again", name), now)
        else:
            self._join(connection, name, now)

    def _join(self, connection: int, name: str, now: float) -> None:
        member = Member(name, heard_at=now, inform_at=now + _INFORM_EVERY)
        for old in self._members.join(connection, member):
            self._unsent.discard(old)
            self._act(Close(old))
        self._gone.discard(name)
        self._act(Welcome(connection))

    def _lost(self, connection: int, now: float, silent: str = "") -> None:
        self._unsent.discard(connection)
        self._members.greeted(connection)
        member = self._members.here.pop(connection, None)
        if member is None or not self._formed:
            return  # its loss is known; or it is only missing again
        self._gone.add(member.name)
        needed = silent or not self._members.roles[member.name].restarts_alone
        if needed and member.name not in self._finished:
            self._lose(PeerGone(f"{member.name} {silent or 'went away'}", member.name), now)

    def _look_for_silence(self, now: float) -> None:
        for connection, member in self._members.of(Stage.STARTED).items():
            if self._members.roles[member.name].serves and self._due(member.heard_at + _SERVES_SILENTLY, now):
                self._act(Close(connection))
                self._lost(connection, now, f"has been silent for {_SERVES_SILENTLY:g} s")

    # The meeting

    def _advance(self, now: float) -> None:
        if self._goodbye is None:
            self._meet(now)
        self._inform(now)
        if self._goodbye:
            self._say_goodbye(self._goodbye, now)
        if self._finish and not self._finish.done:
            self._part(self._finish, now)

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
        if self._phase is Phase.STARTING and (not self._unsent or self._due(self._unsent_until, now)):
            self._phase = Phase.STARTED
            self._act(Formed(self._members.left_out))

    def _wait_for_members(self, now: float) -> None:
        missing = self._missing()
        if not missing:
            self._phase = Phase.HOSTS
            self._act(FindHosts(self._members.left_out))
        elif (
            self._offer
            and self._context.fewest_workers
            and self._due(self._patience, now)
            and self._members.can_spare(missing)
        ):
            for connection, member in self._members.leave_out(missing).items():
                self._say_last(connection, refused=f"the run continues without {member.name}")
            self._meet(now)
        elif self._due(self._deadline, now):
            self._leave(not_formed(self._described(missing)))
        elif self._offer is None:
            return  # this task says itself what it does, as it does nothing else
        elif self._due(self._announce_at, now):
            self._announce_at = self._wake(now + SAY_EVERY)
            self._act(Announce(self._described(missing)))

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
                self._act(Extended(PROGRESS))

    def _prepare(self, connection: int, member: Member, offer: Offer, now: float) -> None:
        """Tell the member where to resume; it says if it lacks the checkpoint's files."""
        member.stage = Stage.PREPARING
        self._patience = max(self._patience, (now + self._deadline) / 2)
        # Asynchronous tasks hear the step alone: the coordinator restores for all.
        told = {"step": offer.step} if self._context.mode == "async" else offer.to_dict()
        self._act(Send(connection, {"prepare": told, "without": self._without}))

    def _start(self, connection: int, member: Member, now: float) -> None:
        member.stage, member.heard_at, member.inform_at = Stage.STARTED, now, now + ALIVE_EVERY
        self._unsent.add(connection)
        self._act(Send(connection, {"go": True, "without": self._without}, confirm=True))

    @property
    def _without(self) -> list[str]:
        return list(map(str, self._members.left_out))

    def _inform(self, now: float) -> None:
        """Tell each member who is missing, or, once it has started, that this task lives.

        Writing also finds out that a member has gone.
        """
        listeners = self._members.of(Stage.JOINED, Stage.PREPARED, Stage.STARTED).items()
        due = [(connection, member) for connection, member in listeners if self._due(member.inform_at, now)]
        waiting: dict[str, Any] = {"waiting": self._described(self._missing()) if due else []}
        if self._deadline > self._asked_deadline:
            waiting["left"] = round(self._deadline - now, 1)
        for connection, member in due:
            started = member.stage is Stage.STARTED
            member.inform_at = self._wake(now + (ALIVE_EVERY if started else _INFORM_EVERY))
            self._act(Send(connection, {"alive": True} if started else waiting))

    # How it ends

    def _lose(self, loss: PeerGone, now: float) -> None:
        """Note the first loss of a task that this attempt needs, and tell the others which it is."""
        if self._finish is None and self._goodbye is None:
            message = {"lost": str(loss), "peer": loss.peer}
            self._begin_goodbye(Goodbye(loss, message, now + GOODBYE, Leave(loss)))

    def _member_failed(self, connection: int, failure: PeerFailed, now: float) -> None:
        if not (self._goodbye and isinstance(self._goodbye.loss, PeerFailed)):
            self._fail(failure, now, None if self._finish else Leave(failure), connection)

    def _fail(self, failure: PeerFailed, now: float, then: Leave | Done | None, teller: int | None = None) -> None:
        self._begin_goodbye(Goodbye(failure, failure_message(failure), now + GOODBYE, then, teller))

    def _begin_goodbye(self, goodbye: Goodbye) -> None:
        self._goodbye = goodbye
        self._dismiss(goodbye.message, Stage.JOINED, Stage.PREPARING, Stage.PREPARED, Stage.STARTED)
        self._act(NoteLoss(goodbye.loss))

    def _dismiss(self, message: Mapping[str, Any], *stages: Stage) -> None:
        for connection, member in self._members.of(*stages).items():
            member.stage = Stage.DISMISSED
            self._say_last(connection, **message)

    def _say_goodbye(self, goodbye: Goodbye, now: float) -> None:
        heard_by_all = self._members.here.keys() <= {goodbye.teller}
        if goodbye.then is None or not (heard_by_all or self._due(goodbye.until, now)):
            return
        if isinstance(goodbye.then, Done):
            goodbye.then = None
            self._act(Done())
        elif self._watched or self._phase is not Phase.STARTED:
            self._leave(goodbye.loss)

    def _leave(self, error: LauncherError) -> None:
        if not self._left:
            self._left = True
            self._act(Leave(error))

    def _part(self, finish: Finish, now: float) -> None:
        """Once all that train have finished, send all away; once they have gone, this task may go."""
        trainers = {name for name, role in self._members.roles.items() if not role.serves}
        if not finish.agreed and (trainers <= self._finished | self._gone or self._due(finish.until, now)):
            finish.agreed, finish.until = True, now + HELLO_TIMEOUT
        if finish.agreed:
            self._dismiss({"end": True, "stopped": finish.stopped}, Stage.STARTED)
            # A member that hears the end closes its connection: then it no longer needs our TensorFlow server.
            if self._members.roles.keys() <= self._gone or self._due(finish.until, now):
                finish.done = True
                self._act(Done())

    def _say_last(self, connection: int, **message: Any) -> None:
        self._act(Send(connection, message))
        self._act(HangUp(connection))

    def _act(self, action: Action) -> None:
        self._actions.append(action)

    def _due(self, at: float, now: float) -> bool:
        """Whether it is time; if not, a Tick is due then."""
        return at <= now or self._wake(at) <= now

    def _wake(self, at: float) -> float:
        """Let a Tick be due at this time, and return it."""
        self.wake_at = min(self.wake_at, at)
        return at
