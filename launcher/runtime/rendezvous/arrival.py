"""A member's way from its first attempt to reach the leader to the start of all."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from launcher.contract.context import TaskContext
from launcher.contract.environment import KEY_KEY, KEY_SUFFIX
from launcher.contract.task import Task
from launcher.contract.version import mismatch, own_version
from launcher.errors import LauncherError
from launcher.rundir import RunFiles
from launcher.runtime.checkpoint.files import CheckpointFiles
from launcher.runtime.checkpoint.saved import Offer
from launcher.runtime.failure import peer_failure
from launcher.runtime.rendezvous.messages import (
    HELLO_LIMIT,
    HELLO_TIMEOUT,
    NONSENSE,
    PROGRESS,
    failure_message,
    names,
    peer_failed,
)
from launcher.runtime.rendezvous.proof import Handshake, nonce
from launcher.runtime.rendezvous.waiting import Wait, find_hosts
from launcher.runtime.rendezvous.wire import Wire
from launcher.text import printable, shown

_AGAIN = 0.1  # seconds between two attempts to reach the leader
_MOST_SAID = 400  # characters of what another version says


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
                raise LauncherError(f"another program than {self._leader} answers at {where}") from None
            except (OSError, EOFError):
                return None  # the leader of the next attempt will listen there again
            closing.pop_all()
        return wire

    def _introduce(self, wire: Wire) -> None:
        """Say who this is and do what the leader says, until all have met."""
        self._greet(wire)
        while not self._understood(wire, wire.hear(HELLO_TIMEOUT)):
            pass

    def _greet(self, wire: Wire) -> None:
        """Prove to each other that both have the same key."""
        own, mine = str(self._context.task), nonce()
        wire.send(task=own, nonce=mine, **own_version())
        answer = wire.hear(HELLO_TIMEOUT, HELLO_LIMIT)
        if answer is None:
            raise TimeoutError
        if differs := mismatch(self._leader, own, answer):
            raise LauncherError(
                f"{self._leader} refused: {printable(shown(answer.get('refused', differs)))[:_MOST_SAID]}"
            )
        if "nonce" not in answer:
            raise ValueError("no leader's answer")
        handshake = Handshake(self._context.token, self._leader, own, mine, shown(answer["nonce"]))
        wire.send(proof=handshake.member_proof())  # also to another leader, which names who has another key
        if not handshake.is_leader(answer):
            raise LauncherError(
                f"{self._leader} at {self._context.rendezvous} has another key, and belongs to another run or was "
                f"started from another cluster file: the file and its key (FILE{KEY_SUFFIX} "
                f"beside it, or {KEY_KEY}) must be the same on every machine"
            )

    def _understood(self, wire: Wire, message: Mapping[str, Any] | None) -> bool:
        try:
            return self._heard(wire, message)
        except (TypeError, KeyError, AttributeError, OverflowError) as error:
            raise ValueError(f"a message of another shape: {error}") from None

    def _heard(self, wire: Wire, message: Mapping[str, Any] | None) -> bool:
        """Take a message in; return whether all have met."""
        if message is None:
            raise TimeoutError
        if "refused" in message:
            raise LauncherError(f"{self._leader} refused: {message['refused']}")
        if "failed" in message:
            raise peer_failed(message)
        self.left_out = tuple(map(Task.parse, names(message, "without"))) or self.left_out
        if "prepare" in message:
            self._prepare(wire, Offer.from_dict(message["prepare"]))
        if message.get("go"):
            return True
        self._missing = names(message, "waiting") or self._missing
        if "left" in message:
            self._wait.extend(float(message["left"]))
        self._wait.check(self._missing, aloud=self._is_elsewhere)
        return False

    @property
    def _is_elsewhere(self) -> bool:
        # A leader on this machine announces for both who is missing.
        leader, own = self._context.leader, self._context.task
        hosts = [self._context.cluster[task.job][task.index].rpartition(":")[0] for task in (leader, own)]
        return hosts[0] != hosts[1]

    def _prepare(self, wire: Wire, offer: Offer) -> None:
        """Get all that the start needs: the checkpoint's files, and everyone's address."""
        self.step = offer.step
        try:
            if offer.identity:
                self._get_files(wire, offer)
            find_hosts(dataclasses.replace(self._context, left_out=self.left_out), self._wait)
        except LauncherError as error:
            with contextlib.suppress(OSError):
                wire.send(**failure_message(peer_failure(self._context.task, error)))
            raise
        wire.send(prepared=True)

    def _get_files(self, wire: Wire, offer: Offer) -> None:
        """Verify the checkpoint if it is here; ask for the leader's files if it is not, or is damaged."""

        def watch(progress: str) -> None:
            self._wait.extend(PROGRESS)
            self._wait.check([f"{self._context.task} ({progress})"])
            with contextlib.suppress(OSError):  # that the leader is gone is no damage of a file
                wire.send(busy=progress)

        try:
            if self._files.holds(offer, partial(print, flush=True), watch):
                return
        except OSError as error:
            raise LauncherError(f"cannot set aside the checkpoint step-{offer.step}: {error}") from None
        wire.send(lacks=True)
        try:
            self._files.receive(offer, wire, watch)
        except OSError as error:
            raise LauncherError(f"cannot write the checkpoint that {self._leader} sends: {error}") from None
