"""What happens to a leader, replayed to its decisions without sockets: the clock is the test's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.contract.task import Task
from launcher.contract.version import own_version
from launcher.runtime.checkpoint.saved import Offer
from launcher.runtime.rendezvous.events import (
    Action,
    Announce,
    Close,
    Event,
    FindHosts,
    Formed,
    HangUp,
    Heard,
    HostsFound,
    Leave,
    Lost,
    Send,
    SendFiles,
    Sent,
    TaskAction,
    Tick,
    Verified,
    Watching,
    Welcome,
)
from launcher.runtime.rendezvous.leading import Leading
from launcher.runtime.rendezvous.proof import Handshake
from tests.unit.runtime.conftest import task_context

TOKEN = "the token of this run"
SYNC = {"worker": ("127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1")}
ASYNC: Mapping[str, Any] = {
    "mode": "async",
    "cluster": {"chief": ("127.0.0.1:1",), "worker": ("127.0.0.2:1",), "ps": ("127.0.0.3:1",)},
    "leader": Task("chief", 0),
}
PREPARE = {"prepare": Offer(0).to_dict(), "without": []}
NOTHING = Offer(0)
OFFER = Offer(7, "x", 0, {"a": (2, "digest")})


class History:
    """A leader, and all that it was made to do."""

    def __init__(self, *, offer: Offer | None = NOTHING, deadline: float = 60.0, **changes: Any) -> None:
        context = task_context(**({"token": TOKEN, "cluster": SYNC} | changes))
        context = task_context(str(context.leader), **({"token": TOKEN, "cluster": SYNC} | changes))
        self.now = 0.0
        self.others = [str(task) for task in context.members if task != context.task]
        self._leader = str(context.task)
        self.leading = Leading(context, deadline, self.now)
        if offer:
            self.leading.handle(Verified(offer), self.now)
        self._connections = 0
        self._told: dict[int, list[Mapping[str, Any] | str]] = {}
        self._asked: list[TaskAction] = []  # of the task

    def happen(self, *events: Event) -> None:
        """Let these events happen, and the tick that follows them."""
        for event in (*events, Tick()):
            for action in self.leading.handle(event, self.now):
                self._note(action)

    def _note(self, action: Action) -> None:
        match action:
            case Send():
                self._told.setdefault(action.connection, []).append(action.message)
            case SendFiles() | HangUp() | Close():
                word = {SendFiles: "files", HangUp: "hung up", Close: "closed"}[type(action)]
                self._told.setdefault(action.connection, []).append(word)
            case Welcome():
                pass
            case _:
                self._asked.append(action)

    def wait(self, seconds: float) -> None:
        """Let so much time pass, with a tick each time that one is due."""
        until = self.now + seconds
        while self.leading.wake_at < until:
            self.now = max(self.now, self.leading.wake_at)
            self.happen()
        self.now = until
        self.happen()

    def hello(self, name: Any, key: str = TOKEN, **more: Any) -> int:
        """Let a task connect, say who it is, and prove that it has this key; return its connection."""
        self._connections += 1
        connection, number = self._connections, "the member's number"
        self.say(connection, **({"task": name, "nonce": number} | own_version() | more))
        answer = self._told[connection][-1]
        if isinstance(answer, dict) and "nonce" in answer:
            self._told.pop(connection)
            self.say(connection, proof=Handshake(key, self._leader, str(name), number, answer["nonce"]).member_proof())
        return connection

    def say(self, connection: int, **message: Any) -> None:
        self.happen(Heard(connection, message))

    def prepare(self, *connections: int) -> None:
        for connection in connections:
            self.say(connection, prepared=True)

    def lose(self, *connections: int) -> None:
        for connection in connections:
            self.happen(Lost(connection))

    def told(self, connection: int) -> list[Mapping[str, Any] | str]:
        """What was sent to this connection since this was asked before."""
        return self._told.pop(connection, [])

    def asked(self) -> list[TaskAction]:
        """What was asked of the task since this was asked before."""
        asked, self._asked = self._asked, []
        return asked

    def found_hosts(self) -> None:
        assert isinstance(self._asked.pop(), FindHosts)
        self.happen(HostsFound())

    def form(self) -> list[int]:
        """Let all that are to come meet; return their connections, and forget what they were told."""
        connections = [self.hello(name) for name in self.others]
        self.prepare(*connections)
        self.found_hosts()
        for connection in connections:
            self.happen(Sent(connection))
        assert isinstance(self._asked.pop(), Formed)
        self._told.clear()
        return connections


def formed(**changes: Any) -> tuple[History, int, int]:
    """A leader that has met two members, and watches."""
    history = History(**changes)
    first, second = history.form()
    history.happen(Watching())
    return history, first, second


def missing(history: History) -> list[list[str]]:
    """Who was announced to be missing."""
    return [list(action.missing) for action in history.asked() if isinstance(action, Announce)]


def error(history: History) -> Exception:
    """Why the task was asked to leave."""
    (action,) = (action for action in history.asked() if isinstance(action, Leave))
    return action.error
