"""The states of a leader: on the way to the start, and on the way to the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from launcher.errors import LauncherError
from launcher.runtime.rendezvous.events import Done, Leave


class Phase(Enum):
    """Where the meeting is."""

    MEETING = auto()  # members come, and get prepared
    HOSTS = auto()  # all are prepared; this task looks up every task's address
    STARTING = auto()  # all are told to go
    STARTED = auto()  # all have been told


@dataclass
class Goodbye:
    """All were told why the attempt fails; ``then`` follows when they have heard it."""

    loss: LauncherError
    message: Mapping[str, Any]
    until: float
    then: Leave | Done | None
    teller: int | None = None  # the connection that the reason came by


@dataclass
class Finish:
    """This task has finished, and waits for the others (``until`` then), or for their leaving, once ``agreed``."""

    stopped: bool
    until: float
    agreed: bool = False
    done: bool = False
