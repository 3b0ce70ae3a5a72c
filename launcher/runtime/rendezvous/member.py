"""A member's side of the rendezvous: it meets the leader, and keeps the connection until all may leave."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from launcher.contract.context import TaskContext
from launcher.errors import LauncherError
from launcher.runtime.failure import PeerGone, is_consequence, peer_failure
from launcher.runtime.rendezvous.arrival import Arrival
from launcher.runtime.rendezvous.messages import ALIVE_EVERY, NONSENSE, SILENCE, failure_message, peer_failed
from launcher.runtime.rendezvous.waiting import Extend, Tell, Wait, start_thread
from launcher.runtime.rendezvous.wire import Wire

_LAST_WORD = 2.0  # seconds that a leader gets to say which peer was lost


class Member:
    """A task that meets the others at the leader. A context manager: it waits until all have met.

    An error in its block is sent to all.
    """

    def __init__(self, context: TaskContext, deadline: float, tell: Tell, extended: Extend = lambda _: None) -> None:
        self.step, self.left_out = 0, context.left_out
        self._context, self._wait = context, Wait(deadline, tell, extended)
        self._listening: _Listening | None = None

    def __enter__(self) -> Self:
        arrival = Arrival(self._context, self._wait)
        self._listening = _Listening(arrival.meet(), str(self._context.leader))
        self.step, self.left_out = arrival.step, arrival.left_out
        self._listening.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not isinstance(error, Exception):
            return
        self._met.leave_it()
        if is_consequence(error):
            loss = self._met.loss(_LAST_WORD)  # what the leader says now is why this task leaves
            if loss and error is not loss:
                raise loss from error
        else:
            self._met.send(**failure_message(peer_failure(self._context.task, error)))

    def watch(self, leave: Callable[[LauncherError], None]) -> None:
        """From now on call ``leave``, from another thread, as soon as the leader is lost or the run has failed."""
        self._met.watch(leave)

    def finish(self, *, stopped: bool = False) -> None:
        """Say that this task has finished, and wait until all may leave."""
        self._met.leave_it()
        self._met.send(finished=True)
        self.wait_for_end()

    def wait_for_end(self) -> bool:
        """Wait until the leader says that all may leave; return whether the run came to its end.

        Raises PeerGone if the leader went, or fell silent, without a message; PeerFailed if the run has failed.
        """
        if loss := self._met.loss(None):
            raise loss
        return not self._met.stopped

    @property
    def _met(self) -> _Listening:
        assert self._listening, "the member is used before its block"
        return self._listening


class _Listening:
    """The thread that sends heartbeats to the leader, and hears what it says, until all may leave."""

    def __init__(self, wire: Wire, leader: str) -> None:
        self.stopped = False
        self._wire, self._leader = wire, leader
        self._lock = threading.Lock()
        self._leave: Callable[[LauncherError], None] | None = None
        self._loss: LauncherError | None = None
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin; LauncherError if this machine lets no thread start."""
        start_thread(threading.Thread(target=self._run, daemon=True))

    def send(self, **message: Any) -> None:
        """Send a message, if the leader is still there."""
        with contextlib.suppress(OSError):
            self._wire.send(**message)

    def watch(self, leave: Callable[[LauncherError], None]) -> None:
        """Call ``leave`` as soon as this task can only fail; at once if that is known."""
        with self._lock:
            self._leave, loss = leave, self._loss
        if loss:
            leave(loss)

    def leave_it(self) -> None:
        """Do not call ``leave`` any more: this task leaves by itself."""
        with self._lock:
            self._leave = None

    def loss(self, seconds: float | None) -> LauncherError | None:
        """Wait for the end, at most this long, and return why the attempt fails, if it does.

        None seconds are bounded, too: the leader's silence is an end.
        """
        self._ended.wait(seconds)
        return self._loss

    def _run(self) -> None:
        gone = f"{self._leader} went away without saying that the run is over"
        loss: LauncherError | None = PeerGone(gone, self._leader)
        try:
            self.stopped = self._hear_end()
            loss = None
        except LauncherError as error:
            loss = error
        except (OSError, EOFError, *NONSENSE):
            pass  # as if it had closed the connection
        finally:
            self._end(loss)

    def _end(self, loss: LauncherError | None) -> None:
        self._wire.close()
        with self._lock:
            self._loss, leave = loss, self._leave
        self._ended.set()
        if loss and leave:
            leave(loss)

    def _hear_end(self) -> bool:
        """Return, when all may leave, whether the run was stopped before its last step."""
        sent = heard = time.monotonic()
        while True:
            asked = time.monotonic()
            if asked >= sent + ALIVE_EVERY:
                self.send(alive=True)
                sent = asked
            message = self._wire.hear(max(0.0, min(sent + ALIVE_EVERY, heard + SILENCE) - asked))
            if message is None:
                # Whoever holds Python's lock for long may keep this thread from what has arrived: only a time that
                # was read before the connection was counts.
                if asked >= heard + SILENCE:
                    raise TimeoutError
                continue
            heard = time.monotonic()
            if "failed" in message:
                raise peer_failed(message)
            if "lost" in message:
                raise PeerGone(str(message["lost"]), str(message.get("peer", "")))
            if message.get("end"):
                return bool(message.get("stopped"))
