"""What happens to a leader (events), what it has to do about it (actions), and when it is to look again (Agenda)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.contract.task import Task
from launcher.errors import LauncherError
from launcher.runtime.checkpoint.saved import Offer
from launcher.runtime.failure import PeerFailed

# Events. A connection is known by a number.


@dataclass(frozen=True)
class Heard:
    """A message arrived."""

    connection: int
    message: Mapping[str, Any]


@dataclass(frozen=True)
class Lost:
    """The other side closed the connection, or it broke."""

    connection: int


@dataclass(frozen=True)
class Sent:
    """All that was to be sent on this connection has been handed to the kernel."""

    connection: int


@dataclass(frozen=True)
class Verifying:
    """This task is verifying the checkpoint to resume from, and this far."""

    progress: str


@dataclass(frozen=True)
class Verified:
    """This is what all resume from."""

    offer: Offer


@dataclass(frozen=True)
class HostsFound:
    """Every task's host has an address here."""


@dataclass(frozen=True)
class Watching:
    """From now on this task can be made to leave."""


@dataclass(frozen=True)
class Finished:
    """This task has nothing more to train; ``stopped`` if it was asked to stop before the last step."""

    stopped: bool


@dataclass(frozen=True)
class Failed:
    """This task fails, for a reason of its own."""

    failure: PeerFailed  # as the others hear it


@dataclass(frozen=True)
class Tick:
    """Time has passed; all that arrived before the time of this event was handled before it."""


OwnEvent = Verifying | Verified | HostsFound | Watching | Finished | Failed
Event = Heard | Lost | Sent | OwnEvent | Tick

# Actions on connections


@dataclass(frozen=True)
class Welcome:
    """Treat the connection as a member's from now on, not as a stranger's."""

    connection: int


@dataclass(frozen=True)
class Send:
    """Send a message; ``Sent`` follows if it is to be confirmed."""

    connection: int
    message: Mapping[str, Any]
    confirm: bool = False


@dataclass(frozen=True)
class SendFiles:
    """Send the content of the checkpoint's files, in the order of the offer."""

    connection: int


@dataclass(frozen=True)
class HangUp:
    """Send nothing more once all is sent; keep reading."""

    connection: int


@dataclass(frozen=True)
class Close:
    """Close the connection at once."""

    connection: int


# Actions of the task


@dataclass(frozen=True)
class Announce:
    """Announce who is missing."""

    missing: Collection[str]


@dataclass(frozen=True)
class Extended:
    """A checkpoint is on its way: the cluster must have formed so many seconds from now, and not before."""

    seconds: float


@dataclass(frozen=True)
class FindHosts:
    """Find every task's host; ``HostsFound`` follows."""

    left_out: tuple[Task, ...]


@dataclass(frozen=True)
class Formed:
    """All have met, without these workers."""

    left_out: tuple[Task, ...]


@dataclass(frozen=True)
class NoteLoss:
    """It is known why this attempt fails."""

    loss: LauncherError


@dataclass(frozen=True)
class Leave:
    """End this task for this reason; the others know it."""

    error: LauncherError


@dataclass(frozen=True)
class Done:
    """The others know how this task ends; it may leave."""


ConnectionAction = Welcome | Send | SendFiles | HangUp | Close
TaskAction = Announce | Extended | FindHosts | Formed | NoteLoss | Leave | Done
Action = ConnectionAction | TaskAction


class Agenda:
    """The actions that follow from an event, and when the next Tick is due."""

    def __init__(self, now: float) -> None:
        self.wake_at = now
        self._actions: list[Action] = []

    def act(self, action: Action) -> None:
        """Add an action."""
        self._actions.append(action)

    def say_last(self, connection: int, **message: Any) -> None:
        """Send a message after which nothing follows."""
        self.act(Send(connection, message))
        self.act(HangUp(connection))

    def take(self) -> Sequence[Action]:
        """Return the actions that were added since the last call."""
        actions, self._actions = self._actions, []
        return actions

    def due(self, at: float, now: float) -> bool:
        """Whether it is time; if not, a Tick is due then."""
        return at <= now or self.wake(at) <= now

    def wake(self, at: float) -> float:
        """Let a Tick be due at this time, and return it."""
        self.wake_at = min(self.wake_at, at)
        return at
