"""Ending: how an attempt ends for all of its tasks: one is lost, one fails, or all agree that they have finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.errors import LauncherError
from launcher.runtime.failure import PeerFailed, PeerGone
from launcher.runtime.rendezvous.events import Agenda, Done, Leave, NoteLoss
from launcher.runtime.rendezvous.members import Members, Stage
from launcher.runtime.rendezvous.messages import HELLO_TIMEOUT, failure_message

GOODBYE = 2.0  # seconds that members get to hear why the run has failed
# Seconds of silence until which a leader waits at the end for tasks that have just run the same step. One that lives
# may still evaluate or save, and its launcher bounds that (run.timeouts).
_FINISH_TIMEOUT = 60.0


@dataclass
class _Goodbye:
    """All were told why the attempt fails; ``then`` follows when they have heard it."""

    loss: LauncherError
    message: Mapping[str, Any]
    until: float
    then: Leave | Done | None
    teller: int | None = None  # the connection that the reason came by


@dataclass
class _Finish:
    """This task has finished, and waits for the others (``until`` then), or for their leaving, once ``agreed``."""

    stopped: bool
    until: float
    agreed: bool = False
    done: bool = False


class Ending:
    """The part of ``Leading`` that decides who hears why the attempt ends, and when this task may leave."""

    def __init__(self, members: Members, agenda: Agenda) -> None:
        self._members, self._agenda = members, agenda
        self._finished: set[str] = set()
        self._gone: set[str] = set()  # their connection was closed, after all had met
        self._watched = self._left = False  # whether this task can be told to leave; whether it was
        self._goodbye: _Goodbye | None = None
        self._finish: _Finish | None = None

    @property
    def reason(self) -> Mapping[str, Any] | None:
        """What members hear about why the attempt fails; None if it does not."""
        return self._goodbye.message if self._goodbye else None

    def watch(self) -> None:
        """From now on this task can be told to leave."""
        self._watched = True

    def finish(self, now: float, *, stopped: bool) -> None:
        """This task has finished."""
        self._finish = _Finish(stopped, now + _FINISH_TIMEOUT)

    def member_finished(self, name: str) -> None:
        """Note that a member has finished."""
        self._finished.add(name)

    def member_came(self, name: str) -> None:
        """Note that a member is here, perhaps again."""
        self._gone.discard(name)

    def member_went(self, name: str, now: float, silent: str = "") -> None:
        """Note that a member's connection was closed after all had met, or has been ``silent`` for how long."""
        self._gone.add(name)
        needed = silent or not self._members.roles[name].restarts_alone
        if needed and name not in self._finished:
            self.lose(PeerGone(f"{name} {silent or 'went away'}", name), now)

    def lose(self, loss: PeerGone, now: float) -> None:
        """Note the first loss of a task that this attempt needs, and tell the others which it is."""
        if self._finish is None and self._goodbye is None:
            message = {"lost": str(loss), "peer": loss.peer}
            self._begin_goodbye(_Goodbye(loss, message, now + GOODBYE, Leave(loss)))

    def member_failed(self, connection: int, failure: PeerFailed, now: float) -> None:
        """Note that a member fails, which tells it by this connection, and tell the others."""
        if not (self._goodbye and isinstance(self._goodbye.loss, PeerFailed)):
            self._fail(failure, now, None if self._finish else Leave(failure), connection)

    def fail(self, failure: PeerFailed, now: float) -> None:
        """Tell the others that this task fails; it leaves with its own error."""
        self._left = True
        self._fail(failure, now, Done())

    def leave(self, error: LauncherError) -> None:
        """Have this task leave for this reason, unless it leaves already."""
        if not self._left:
            self._left = True
            self._agenda.act(Leave(error))

    def advance(self, now: float, *, started: bool) -> None:
        """Let follow what is due; ``started``: all were told to go."""
        if self._goodbye:
            self._say_goodbye(self._goodbye, now, started=started)
        if self._finish and not self._finish.done:
            self._part(self._finish, now)

    def _fail(self, failure: PeerFailed, now: float, then: Leave | Done | None, teller: int | None = None) -> None:
        self._begin_goodbye(_Goodbye(failure, failure_message(failure), now + GOODBYE, then, teller))

    def _begin_goodbye(self, goodbye: _Goodbye) -> None:
        self._goodbye = goodbye
        self._dismiss(goodbye.message, Stage.JOINED, Stage.PREPARING, Stage.PREPARED, Stage.STARTED)
        self._agenda.act(NoteLoss(goodbye.loss))

    def _dismiss(self, message: Mapping[str, Any], *stages: Stage) -> None:
        for connection, member in self._members.of(*stages).items():
            member.stage = Stage.DISMISSED
            self._agenda.say_last(connection, **message)

    def _say_goodbye(self, goodbye: _Goodbye, now: float, *, started: bool) -> None:
        heard_by_all = self._members.here.keys() <= {goodbye.teller}
        if goodbye.then is None or not (heard_by_all or self._agenda.due(goodbye.until, now)):
            return
        if isinstance(goodbye.then, Done):
            goodbye.then = None
            self._agenda.act(Done())
        elif self._watched or not started:
            self.leave(goodbye.loss)

    def _part(self, finish: _Finish, now: float) -> None:
        """Once all that train have finished, send all away; once they have gone, this task may go."""
        if not finish.agreed and self._waits_no_longer(finish, now):
            finish.agreed, finish.until = True, now + HELLO_TIMEOUT
        if finish.agreed:
            self._dismiss({"end": True, "stopped": finish.stopped}, Stage.STARTED)
            # A member that hears the end closes its connection: then it no longer needs our TensorFlow server.
            if self._members.roles.keys() <= self._gone or self._agenda.due(finish.until, now):
                finish.done = True
                self._agenda.act(Done())

    def _waits_no_longer(self, finish: _Finish, now: float) -> bool:
        trainers = {name for name, role in self._members.roles.items() if not role.serves}
        unfinished = trainers - self._finished - self._gone
        heard = [member.heard_at for member in self._members.here.values() if member.name in unfinished]
        until = max([finish.until, *(at + _FINISH_TIMEOUT for at in heard)])
        return not unfinished or self._agenda.due(until, now)
