"""A member's way from its first attempt to reach the leader to the start of all."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.contract.context import TaskContext
from launcher.contract.task import Task
from launcher.contract.version import mismatch, own_version
from launcher.errors import LauncherError
from launcher.rundir import RunFiles
from launcher.runtime.checkpoint.files import CheckpointFiles
from launcher.runtime.failure import peer_failure
from launcher.runtime.rendezvous.messages import HELLO_TIMEOUT, NONSENSE, failure_message, peer_failed
from launcher.runtime.rendezvous.waiting import Wait, find_hosts
from launcher.runtime.rendezvous.wire import Wire

_AGAIN = 0.1  # seconds between two attempts to reach the leader
_MOST_HELD = 16  # checkpoints that a member mentions


class Arrival:
    """What a member learns until all have met: the step to resume at, and which workers are left out."""

    def __init__(self, context: TaskContext, wait: Wait) -> None:
        self.step, self.left_out = 0, context.left_out
        self._context, self._wait, self._leader = context, wait, str(context.leader)
        self._files = CheckpointFiles(RunFiles(Path(context.run_directory)).checkpoints)
        self._missing: list[str] = []

    def meet(self) -> Wire:
        """Return the connection to the leader once all have met."""
        self._missing = self._unreached()
        while (wire := self._try_to_meet()) is None:
            self._wait.check(self._missing)
            self._wait.sleep(_AGAIN)
        return wire

    def _unreached(self) -> list[str]:
        return [f"{self._leader} (no answer at {self._context.rendezvous})"]

    def _try_to_meet(self) -> Wire | None:
        """Return None if the leader cannot be reached, or is gone before all have met."""
        try:
            wire = Wire.connect(self._context.rendezvous)
        except OSError:
            self._missing = self._unreached()
            return None
        with contextlib.ExitStack() as closing:
            closing.callback(wire.close)
            try:
                self._introduce(wire)
            except NONSENSE:
                where = self._context.rendezvous
                raise LauncherError(f"not {self._leader} but another program answers at {where}") from None
            except (OSError, EOFError):
                return None  # the leader of the next attempt will listen there again
            closing.pop_all()
        return wire

    def _introduce(self, wire: Wire) -> None:
        """Say who this is and do what the leader says, until all have met."""
        holds = [saved.identity for saved in self._files.sound()][-_MOST_HELD:]
        wire.send(task=str(self._context.task), token=self._context.token, holds=holds, **own_version())
        while not self._heard(wire, wire.hear(HELLO_TIMEOUT)):
            pass

    def _heard(self, wire: Wire, message: Mapping[str, Any] | None) -> bool:
        """Take a message in; return whether all have met."""
        if message is None:
            raise TimeoutError
        if "refused" in message:
            raise LauncherError(f"{self._leader} refused: {message['refused']}")
        if "failed" in message:
            raise peer_failed(message)
        self.left_out = tuple(map(Task.parse, message.get("without", ()))) or self.left_out
        if "prepare" in message:
            self._prepare(wire, message)
        if message.get("go"):
            return True
        self._missing = message.get("waiting") or self._missing
        self._wait.check(self._missing, aloud=self._is_elsewhere)
        return False

    @property
    def _is_elsewhere(self) -> bool:
        # A leader on this machine announces for both who is missing.
        leader, own = self._context.leader, self._context.task
        hosts = [self._context.cluster[task.job][task.index].rpartition(":")[0] for task in (leader, own)]
        return hosts[0] != hosts[1]

    def _prepare(self, wire: Wire, message: Mapping[str, Any]) -> None:
        """Get all that the start needs: the checkpoint's files if they are sent, and everyone's address."""
        offer = message["prepare"]
        self.step = int(offer["step"])
        try:
            if differs := mismatch(self._leader, str(self._context.task), message):
                raise LauncherError(differs)  # noqa: TRY301
            if "files" in offer:
                self._receive(wire, offer)
            find_hosts(dataclasses.replace(self._context, left_out=self.left_out), self._wait)
        except LauncherError as error:
            with contextlib.suppress(OSError):
                wire.send(**failure_message(peer_failure(self._context.task, error)))
            raise
        wire.send(prepared=True)

    def _receive(self, wire: Wire, offer: Mapping[str, Any]) -> None:
        try:
            self._files.receive(offer, wire)
        except OSError as error:
            raise LauncherError(f"cannot write the checkpoint that {self._leader} sends: {error}") from None
