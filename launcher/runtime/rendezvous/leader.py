"""The leader's side of the rendezvous: it listens, says who is missing, and watches over those that came."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from launcher.contract.context import TaskContext
from launcher.contract.roles import ROLES, Quorum
from launcher.contract.task import Task
from launcher.errors import LauncherError
from launcher.rundir import RunFiles
from launcher.runtime.checkpoint.files import CheckpointFiles
from launcher.runtime.failure import PeerFailed, PeerGone, is_consequence, is_own, sentence
from launcher.runtime.rendezvous.messages import (
    ALIVE_EVERY,
    HELLO_TIMEOUT,
    SAY_EVERY,
    Tell,
    find_hosts,
    messages,
    not_formed,
    peer_failed,
    send,
)
from launcher.runtime.rendezvous.reception import Conversation, Hello, listen

_TELL_EVERY = 1.0  # seconds between two words to a member that waits
_SAY_FIRST = 1.0  # seconds until the first line about who is missing
_PART_TIMEOUT = 60.0  # seconds that a leader waits at the end for tasks that were in the same step a moment ago
_GOODBYE = 2.0  # seconds that members get to hear why the run has failed
# Seconds without a sign of life after which a serving task is lost: it runs none of the user's code that could hold
# Python's lock. Tasks that train may be silent; TensorFlow's own heartbeats watch those.
_SERVES_SILENTLY = 20.0


class Leader:
    """The task that the others meet at. A context manager: an error in its block is told to all."""

    def __init__(self, context: TaskContext, deadline: float, waiting: Tell) -> None:
        self._name, self._context = str(context.task), context
        self.left_out = context.left_out
        self._members = {str(task) for task in context.members} - {self._name}
        roles = {str(task): ROLES[context.mode][task.job] for task in context.members if task != context.task}
        self._serving = {name for name, role in roles.items() if role.serves}
        # Whose end is the end of this attempt: an asynchronous worker comes back to a cluster that goes on.
        self._vital = {name for name, role in roles.items() if not role.restarts_alone}
        self._token = context.token
        self._checkpoint = CheckpointFiles(RunFiles(Path(context.run_directory)).checkpoints).newest_sound(
            partial(print, flush=True)
        )
        self.step = self._checkpoint.step if self._checkpoint else 0
        self._hands_over = context.mode == "sync"
        self._present: dict[str, object] = {}  # name → the connection that it came by
        self._prepared: set[str] = set()
        self._told: set[str] = set()  # that all have met
        self._finished: set[str] = set()
        self._gone: set[str] = set()  # their connection is closed, after all had met
        self._formed = self._parting = self._over = self._stopped = False
        self._loss: LauncherError | None = None  # of a task that this one cannot go on without
        self._leave: Callable[[LauncherError], None] | None = None
        self._changed = threading.Condition()
        self._server = listen(context.rendezvous, self._converse)
        try:
            self._form(deadline, waiting)
        except LauncherError as error:
            self.__exit__(type(error), error, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, Exception) and is_consequence(error):
            # What TensorFlow says of a peer that has gone does not name it; its connection tells in a moment.
            self._wait(lambda: self._loss, _GOODBYE)
            if self._loss and error is not self._loss:
                raise self._loss from error
        elif isinstance(error, Exception):
            code = error.exit_code if isinstance(error, LauncherError) else 1
            with self._changed:
                self._leave = None  # this task leaves with its own error
            self._fail(PeerFailed(f"{self._name} failed: {sentence(error)}", code, own=is_own(error)))

    def watch(self, leave: Callable[[LauncherError], None]) -> None:
        """From now on call ``leave``, in a thread of its own, as soon as a task is lost that this one needs."""
        with self._changed:
            self._leave, loss = leave, self._loss
        if loss:
            leave(loss)

    def part(self, *, stopped: bool = False) -> None:
        """Wait for the tasks that train to finish, send all away, and leave last."""
        with self._changed:
            self._parting = True
        trainers = self._members - self._serving
        self._wait(lambda: trainers <= self._finished | self._gone, _PART_TIMEOUT)
        with self._changed:
            self._over, self._stopped = True, stopped
            self._changed.notify_all()
        # A member that hears the end closes its connection: then it no longer needs our TensorFlow server.
        self._wait(lambda: self._members <= self._gone, HELLO_TIMEOUT)

    def wait_for_end(self) -> bool:
        """Never called: a leader trains or coordinates, it does not serve."""
        raise NotImplementedError

    # The meeting

    def _missing(self) -> list[str]:
        return sorted(self._members - self._present.keys()) or sorted(self._members - self._prepared)

    def _form(self, deadline: float, waiting: Tell) -> None:
        # Who can be left out is waited for half of the time: the others need the rest.
        patience = (time.monotonic() + deadline) / 2
        while not self._formed:
            self._wait_for_members(deadline, patience, waiting)
            find_hosts(dataclasses.replace(self._context, left_out=self.left_out), deadline, waiting)
            with self._changed:
                self._formed = not self._missing()  # or one has gone again meanwhile
                self._changed.notify_all()
        # Building a MultiWorkerMirroredStrategy holds Python's lock until all peers have connected: whoever has not
        # heard the word by then never would.
        self._wait(lambda: self._members <= self._told | self._gone, HELLO_TIMEOUT)
        if self._loss:
            raise self._loss

    def _wait_for_members(self, deadline: float, patience: float, waiting: Tell) -> None:
        pause = _SAY_FIRST
        while not self._wait(lambda: self._loss or not self._missing(), min(pause, deadline - time.monotonic())):
            missing, pause, now = self._missing(), SAY_EVERY, time.monotonic()
            if missing and now >= patience and self._can_spare(missing):
                self._leave_out(missing)
            elif missing and now >= deadline:
                raise not_formed(missing)
            else:
                waiting(missing)
        if self._loss:
            raise self._loss

    def _can_spare(self, names: Collection[str]) -> bool:
        """Whether these are all workers, and those that remain are enough to go on with."""
        everyone = [Task.parse(name) for name in {*self._members, self._name}]
        quorum = Quorum.of(everyone, self._context.fewest_workers, self._context.leader)
        return quorum.holds_without([Task.parse(name) for name in names])

    def _leave_out(self, names: Collection[str]) -> None:
        with self._changed:
            self.left_out += tuple(map(Task.parse, names))
            for known in (self._members, self._serving, self._vital, self._prepared):
                known.difference_update(names)
            for name in names:
                self._present.pop(name, None)
            self._changed.notify_all()

    # One member's connection, in a thread of its own

    def _converse(self, handler: Conversation) -> None:
        hello = handler.hello(self._token, self._members, list(map(str, self.left_out)))
        if hello is None or self._came_again(hello.name, handler):
            return
        name = hello.name
        with self._changed:
            self._present[name] = handler
            self._prepared.discard(name)  # that was another process
            self._gone.discard(name)
            self._changed.notify_all()
        try:
            if self._prepare(handler, hello) and self._send_off(handler):
                self._note(self._told, name)
                self._hear(handler, name)
        except TimeoutError:
            self._lost(name, handler, f"has been silent for {_SERVES_SILENTLY:g} s")
        finally:
            self._lost(name, handler, "went away")

    def _came_again(self, name: str, handler: Conversation) -> bool:
        """Whether a task that this attempt needs has started again: then this attempt is over, and all meet again."""
        with self._changed:
            again = self._formed and name in self._vital
        if again:
            send(handler.connection, waiting=[self._name])
            self._lose(PeerGone(f"{name} has started again", name))
        return again

    def _prepare(self, handler: Conversation, hello: Hello) -> bool:
        """Once all are there, tell the member where to resume; whether it says that it is prepared."""
        if not self._keep_informed(handler, lambda: self._formed or self._members <= self._present.keys()):
            return False
        saved, without = self._checkpoint if self._hands_over else None, list(map(str, self.left_out))
        if saved is None:
            send(handler.connection, prepare={"step": self.step}, without=without)
        elif saved.identity in hello.holds:
            send(handler.connection, prepare={"step": saved.step, "id": saved.identity}, without=without)
        else:
            send(handler.connection, prepare=saved.offer(), without=without)
            saved.send(handler.connection)
        message = next(messages(handler.rfile), {})  # type: ignore[arg-type]
        self._heard_failure(message, hello.name)
        with self._changed:
            prepared = bool(message.get("prepared")) and self._present.get(hello.name) is handler
            self._prepared |= {hello.name} if prepared else set()
            self._changed.notify_all()
        return prepared

    def _send_off(self, handler: Conversation) -> bool:
        """Once all are prepared, say so; whether it came to that."""
        if not self._keep_informed(handler, lambda: self._formed):
            return False
        send(handler.connection, go=True, without=list(map(str, self.left_out)))
        threading.Thread(target=self._announce_end, args=(handler.connection,), daemon=True).start()
        return True

    def _keep_informed(self, handler: Conversation, until: Callable[[], bool]) -> bool:
        """Say every second who is missing, until all is as it should be (True) or the run has failed.

        Writing also finds out, while all still wait, that a member has gone again.
        """
        while not self._wait(lambda: until() or isinstance(self._loss, PeerFailed), _TELL_EVERY):
            send(handler.connection, waiting=self._missing())
        if isinstance(self._loss, PeerFailed):
            _send_failure(handler.connection, self._loss)
            return False
        return True

    def _announce_end(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self._wait(lambda: self._over or self._loss, ALIVE_EVERY):
                send(connection, alive=True)
            if isinstance(self._loss, PeerFailed):
                _send_failure(connection, self._loss)
            elif isinstance(self._loss, PeerGone):
                send(connection, lost=str(self._loss), peer=self._loss.peer)
            else:
                send(connection, end=True, stopped=self._stopped)
            connection.shutdown(socket.SHUT_WR)

    def _hear(self, handler: Conversation, name: str) -> None:
        if name in self._serving:
            handler.connection.settimeout(_SERVES_SILENTLY)
        for message in messages(handler.rfile):  # type: ignore[arg-type]
            self._heard_failure(message, name)
            if message.get("finished"):
                self._note(self._finished, name)

    def _heard_failure(self, message: Mapping[str, Any], name: str) -> None:
        if "failed" in message:
            self._fail(peer_failed(message), teller=name)

    # What is known of the members

    def _wait(self, condition: Callable[[], object], seconds: float) -> bool:
        with self._changed:
            return bool(self._changed.wait_for(condition, timeout=seconds))

    def _note(self, names: set[str], name: str) -> None:
        with self._changed:
            names.add(name)
            self._changed.notify_all()

    def _lost(self, name: str, connection: object, how: str) -> None:
        with self._changed:
            if self._present.get(name) is not connection:
                return  # the task has come again since, or its loss is known
            del self._present[name]
            self._prepared.discard(name)
            if self._formed:
                self._gone.add(name)
            silent_worker = name in self._serving and how != "went away"
            matters = self._formed and (name in self._vital or silent_worker) and name not in self._finished
            self._changed.notify_all()
        if matters:
            self._lose(PeerGone(f"{name} {how}", name))

    def _lose(self, loss: LauncherError) -> None:
        """Note the first loss, let the others hear whom it is about, and leave because of it where somebody watches."""
        with self._changed:
            if self._parting or self._loss:
                return
            self._loss, leave = loss, self._leave
            self._changed.notify_all()
        self._wait(lambda: not self._present, _GOODBYE)
        if leave:
            leave(loss)

    def _fail(self, failure: PeerFailed, teller: str = "") -> None:
        """Let everyone but who told it know why the run has failed, and give them a moment to hear it."""
        with self._changed:
            self._loss = failure
            leave = None if self._parting else self._leave
            self._changed.notify_all()
        self._wait(lambda: self._present.keys() <= {teller}, _GOODBYE)
        if leave:
            leave(failure)


def _send_failure(connection: socket.socket, failure: PeerFailed) -> None:
    send(connection, failed=str(failure), exit_code=failure.exit_code, own=failure.own)
