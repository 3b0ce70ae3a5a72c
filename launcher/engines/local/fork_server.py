"""The spawner's side of the fork server, the process that has imported TensorFlow and forks tasks."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from launcher.contract.environment import TASK_KEY
from launcher.contract.requests import send_request
from launcher.engines.local.start_method import at_import

_MODULE = "launcher.runtime.forkserver"
_SOCKET = 3  # the number of its end of the socket
_ANSWER = 10.0  # seconds for a fork, which takes some hundredths of one


class CannotForkError(Exception):
    """The fork server forks no task; the message says why."""


class ForkServer:
    """A process that imports TensorFlow, and from then on forks tasks, which become children of this process."""

    def __init__(self, environment: Mapping[str, str], *, keras: bool = False) -> None:
        """Start it with a task's environment, parts of which are read at the import and stay; OSError if that fails.

        ``keras``: it imports Keras as well.
        """
        environment = {name: value for name, value in environment.items() if name not in (TASK_KEY, "TF_CONFIG")}
        self.connection, theirs = socket.socketpair()
        self.connection.settimeout(_ANSWER)
        self._answers = self.connection.makefile("rb")
        self.is_ready = False
        self._imported_with, self._keras = at_import(environment), keras
        nothing = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
        with theirs:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", _MODULE, str(_SOCKET), *(["keras"] if keras else [])],
                environment,
                file_actions=[*nothing, (os.POSIX_SPAWN_DUP2, theirs.fileno(), _SOCKET)],
                setsid=True,
            )

    def imported(self) -> None:
        """Take in its first word, once there is something to hear; CannotForkError if it is that it cannot fork."""
        self._hear()
        self.is_ready = True

    def fits(self, environment: Mapping[str, str], *, keras: bool) -> bool:
        """Whether a task with this environment could have done the same import, and needs no other."""
        return at_import(environment) == self._imported_with and self._keras >= keras

    def fork(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> int:
        """Fork one task and return its process number; CannotForkError if that fails."""
        try:
            send_request(self.connection, request, descriptors)
        except OSError:
            raise CannotForkError(self._end()) from None
        return int(self._hear()["pid"])

    def close(self) -> None:
        """End it, whatever it does; its tasks live on."""
        self._answers.close()
        self.connection.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _hear(self) -> Mapping[str, Any]:
        try:
            answer = self._answers.readline()
        except TimeoutError:
            raise CannotForkError(f"the fork server has not answered for {_ANSWER:g} s") from None
        except OSError:
            answer = b""
        if not answer:
            raise CannotForkError(self._end())
        try:
            message: Mapping[str, Any] = json.loads(answer)
        except ValueError:
            raise CannotForkError(f"another program answers as the fork server: {answer[:80]!r}") from None
        if message.get("why_not"):
            raise CannotForkError(message["why_not"])
        return message

    def _end(self) -> str:
        when = "" if self.is_ready else ", while it imported TensorFlow"
        return f"the fork server has ended{when}"
