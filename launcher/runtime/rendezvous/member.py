"""A member's side of the rendezvous: it comes to the leader, and keeps the connection until all may leave."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from launcher.contract.context import TaskContext
from launcher.contract.task import Task
from launcher.errors import LauncherError
from launcher.rundir import RunFiles
from launcher.runtime.checkpoint.files import CheckpointFiles
from launcher.runtime.failure import PeerGone, is_consequence, is_own, sentence
from launcher.runtime.rendezvous.messages import (
    ALIVE_EVERY,
    HELLO_TIMEOUT,
    NONSENSE,
    SAY_EVERY,
    SILENCE,
    Tell,
    find_hosts,
    messages,
    not_formed,
    peer_failed,
    send,
)

_CONNECT_TIMEOUT = 2.0  # seconds
_AGAIN = 0.1  # seconds between two attempts to find the leader
_LAST_WORD = 2.0  # seconds that a leader gets to say which peer has gone
_MOST_HELD = 16  # checkpoints that a member mentions


class Member:
    """A task that meets the others at the leader. A context manager: an error in its block is told to all."""

    def __init__(self, context: TaskContext, deadline: float, waiting: Tell) -> None:
        self._context, self._deadline, self._waiting = context, deadline, waiting
        self._name, self._leader = str(context.task), str(context.leader)
        self._files = CheckpointFiles(RunFiles(Path(context.run_directory)).checkpoints)
        self.step, self.left_out = 0, context.left_out
        self._missing = [f"{self._leader} (nobody answers at {context.rendezvous})"]
        self._say_at = time.monotonic() + SAY_EVERY
        self._sending = threading.Lock()
        self._parting = False
        self._ended = threading.Event()  # the watching thread has nothing more to wait for
        self._stopped = False
        self._loss: LauncherError | None = None
        self._meet()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, Exception) and is_consequence(error):
            self._parting = True  # what the leader says now is why this task leaves
            self._ended.wait(_LAST_WORD)
            if self._loss and error is not self._loss:
                raise self._loss from error
        elif isinstance(error, Exception):
            code = error.exit_code if isinstance(error, LauncherError) else 1
            self._parting = True  # its own words may come back to it; it leaves with its own error
            self._say(failed=f"{self._name} failed: {sentence(error)}", exit_code=code, own=is_own(error))

    def watch(self, leave: Callable[[LauncherError], None]) -> None:
        """From now on call ``leave``, in a thread of its own, as soon as the leader is lost or the run has failed."""
        threading.Thread(target=self._await_end, args=(leave,), daemon=True).start()

    def part(self, *, stopped: bool = False) -> None:
        """Say that this task is finished, and wait for the leader's word; needs ``watch`` before."""
        self._parting = True
        self._say(finished=True)
        self._ended.wait()  # bounded: the leader's silence ends it
        if self._loss:
            raise self._loss

    def wait_for_end(self) -> bool:
        """Serve until the leader says that all may leave; return whether the run came to its end.

        Raises PeerGone where the leader went, or fell silent, without a word; PeerFailed where the run has failed.
        """
        self._hear_end()
        return not self._stopped

    # The meeting

    def _meet(self) -> None:
        while not self._try_to_meet():
            now = time.monotonic()
            if now >= self._deadline:
                raise not_formed(self._missing)
            if now >= self._say_at:
                self._waiting(self._missing)
                self._say_at = now + SAY_EVERY
            time.sleep(min(_AGAIN, self._deadline - now))

    def _try_to_meet(self) -> bool:
        """Whether all have met; False where the leader cannot be reached, or has gone before that."""
        host, _, port = self._context.rendezvous.rpartition(":")
        try:
            self._connection = socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT)
        except OSError:
            self._missing = [f"{self._leader} (nobody answers at {self._context.rendezvous})"]
            return False
        self._reader = self._connection.makefile("rb")
        try:
            if self._introduce():
                return True
        except NONSENSE:
            where = self._context.rendezvous
            raise LauncherError(f"not {self._leader} but another program answers at {where}") from None
        except (OSError, EOFError):
            pass  # whoever leads the next attempt will listen there again
        self._close()
        return False

    def _introduce(self) -> bool:
        """Say who this is and do what the leader says, until all have met."""
        self._connection.settimeout(HELLO_TIMEOUT)
        holds = [saved.identity for saved in self._files.sound()][-_MOST_HELD:]
        send(self._connection, task=self._name, token=self._context.token, holds=holds)
        for message in self._messages():
            if "refused" in message:
                raise LauncherError(f"{self._leader} refused: {message['refused']}")
            if "failed" in message:
                raise peer_failed(message)
            self.left_out = tuple(map(Task.parse, message.get("without", ()))) or self.left_out
            if "prepare" in message:
                self._prepare(message["prepare"])
            elif message.get("go"):
                self._connection.settimeout(SILENCE)
                threading.Thread(target=self._say_alive, daemon=True).start()
                return True
            self._hear_who_is_missing(message.get("waiting"))
        return False

    def _hear_who_is_missing(self, waiting: list[str] | None) -> None:
        self._missing = waiting or self._missing
        now = time.monotonic()
        if now >= self._deadline:
            raise not_formed(self._missing)
        if now >= self._say_at and self._speaks:
            self._waiting(self._missing)
            self._say_at = now + SAY_EVERY

    @property
    def _speaks(self) -> bool:
        # Where the leader runs on this machine, it says for both who is missing.
        leader, own = self._context.leader, self._context.task
        hosts = [self._context.cluster[task.job][task.index].rpartition(":")[0] for task in (leader, own)]
        return hosts[0] != hosts[1]

    def _prepare(self, offer: dict[str, Any]) -> None:
        """Get all that the start needs: everyone's address, and the checkpoint's files where they are sent."""
        self.step = int(offer["step"])
        try:
            if "files" in offer:
                self._receive(offer)
            find_hosts(dataclasses.replace(self._context, left_out=self.left_out), self._deadline, self._waiting)
        except LauncherError as error:
            self.__exit__(type(error), error, None)
            raise
        send(self._connection, prepared=True)

    def _receive(self, offer: dict[str, Any]) -> None:
        try:
            self._files.receive(offer, self._reader)
        except OSError as error:
            raise LauncherError(f"cannot write the checkpoint that {self._leader} sends: {error}") from None

    # After all have met

    def _say(self, **message: Any) -> None:
        with contextlib.suppress(OSError), self._sending:
            send(self._connection, **message)

    def _say_alive(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.wait(ALIVE_EVERY):
                with self._sending:
                    send(self._connection, alive=True)

    def _await_end(self, leave: Callable[[LauncherError], None]) -> None:
        try:
            self._hear_end()
        except LauncherError as error:
            self._loss = error
            if not self._parting:
                leave(error)
        finally:
            self._ended.set()

    def _hear_end(self) -> None:
        """Return when the leader says that all may leave; raise where it does not."""
        try:
            for message in self._messages():
                if "failed" in message:
                    raise peer_failed(message)
                if "lost" in message:
                    raise PeerGone(str(message["lost"]), str(message.get("peer", "")))
                if message.get("end"):
                    self._stopped = bool(message.get("stopped"))
                    return
        except (OSError, *NONSENSE):
            pass  # as if it had closed the connection
        finally:
            self._close()
        raise PeerGone(f"{self._leader} went away without saying that the run is over", self._leader)

    def _messages(self) -> Iterator[dict[str, Any]]:
        return messages(self._reader)

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._reader.close()
            self._connection.close()
