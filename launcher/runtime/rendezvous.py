"""Rendezvous: the tasks of a cluster meet before any TensorFlow server starts, and part when nobody needs another.

The leader listens; every member connects, names itself, and hears who is missing until all are there. The same
connection agrees on the end: members say that they are finished (or merely serve), the leader says when to leave.
Messages are JSON objects, one a line.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Collection, Iterator
from secrets import compare_digest
from typing import Any, Protocol

from launcher.cluster.context import TaskContext
from launcher.errors import FormationError, LauncherError

_HELLO_LIMIT = 4096  # bytes; a longer first line is not one of ours
_HELLO_TIMEOUT = 5.0  # seconds that a connection may stay silent
_TELL_EVERY = 1.0  # seconds between two words to a member that waits
_SAY_FIRST = 1.0  # seconds until the first line about who is missing
_SAY_EVERY = 5.0  # seconds between two lines about who is missing
_PART_TIMEOUT = 60.0  # seconds that a leader waits at the end for tasks that were in the same step a moment ago
_ALIVE_EVERY = 5.0  # seconds between two signs of life of a leader that others depend on
_SILENCE = 60.0  # seconds without one after which a member takes its leader for lost

_NONSENSE = (ValueError, RecursionError)  # what json.loads raises for what is none of ours

Tell = Callable[[Collection[str]], None]


class Meeting(Protocol):
    """One task's part in the rendezvous."""

    def part(self) -> None:
        """Say that this task is finished, and return when all may leave."""

    def wait_for_end(self) -> None:
        """Serve until the leader says that nobody needs this task any more."""


class LeaderLost(LauncherError):
    """The leader's connection broke before it said that all may leave: a consequence of the leader's end."""


class Alone:
    """The meeting of a task that has nobody to meet."""

    def part(self) -> None:
        """Return at once."""

    def wait_for_end(self) -> None:
        """Return at once."""


def meet(context: TaskContext, deadline: float, waiting: Tell) -> Meeting:
    """Wait until every task of the cluster is there.

    ``deadline`` is in seconds of ``time.monotonic``; ``waiting`` is called every few seconds with the names of the
    missing tasks. Raises FormationError, which names them, when the deadline has passed.
    """
    if not context.rendezvous:
        return Alone()
    return (Leader if context.is_leader else Member)(context, deadline, waiting)


class Leader:
    """The task that the others meet at."""

    def __init__(self, context: TaskContext, deadline: float, waiting: Tell) -> None:
        self._members = {str(task) for task in context.members} - {str(context.task)}
        self._services = {str(task) for task in context.members if context.mode == "async" and task != context.task}
        self._token, self._rendezvous = context.token, context.rendezvous
        self._present: dict[str, object] = {}  # name → the connection that it came by
        self._told: set[str] = set()  # that all have met
        self._finished: set[str] = set()
        self._gone: set[str] = set()  # their connection is closed, after all had met
        self._formed = self._over = False
        self._changed = threading.Condition()
        self._server = self._listen()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._wait_for_members(deadline, waiting)

    def _listen(self) -> socketserver.ThreadingTCPServer:
        leader = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = _HELLO_TIMEOUT

            def handle(self) -> None:
                with contextlib.suppress(OSError, *_NONSENSE):
                    leader._converse(self)

        family, address = _listening_place(self._rendezvous)

        class Server(socketserver.ThreadingTCPServer):
            address_family = family
            request_queue_size = socket.SOMAXCONN  # all members come at once
            allow_reuse_address = True
            # The launcher holds the port for us until we are here (see supervise/network.py).
            allow_reuse_port = True
            daemon_threads = True

        try:
            return Server(address, Handler)
        except OSError as error:
            raise LauncherError(f"cannot listen at the rendezvous {self._rendezvous}: {error.strerror}") from None

    def _missing(self) -> list[str]:
        return sorted(self._members - self._present.keys())

    def _wait_for_members(self, deadline: float, waiting: Tell) -> None:
        pause = _SAY_FIRST
        while not self._wait(lambda: not self._missing(), min(pause, deadline - time.monotonic())):
            missing, pause = self._missing(), _SAY_EVERY
            if missing and time.monotonic() >= deadline:
                raise _not_formed(missing)
            waiting(missing)
        self._note(formed=True)
        # Building a MultiWorkerMirroredStrategy holds Python's lock until all peers have connected: whoever has not
        # heard the word by then never would.
        self._wait(lambda: self._members <= self._told | self._gone, _HELLO_TIMEOUT)

    def _converse(self, handler: socketserver.StreamRequestHandler) -> None:
        name = self._read_hello(handler)
        if name is None:
            return
        with self._changed:
            self._present[name] = handler
            self._changed.notify_all()
        try:
            self._keep_informed(handler)
            self._note(told=name)
            for message in _messages(handler.rfile):
                if message.get("finished"):
                    self._note(finished=name)
        finally:
            self._lost(name, handler)

    def _read_hello(self, handler: socketserver.StreamRequestHandler) -> str | None:
        hello = json.loads(handler.rfile.readline(_HELLO_LIMIT))
        if not isinstance(hello, dict) or not compare_digest(str(hello.get("token")).encode(), self._token.encode()):
            _send(handler.connection, refused="this rendezvous belongs to another run, or the cluster files differ")
            return None
        if str(hello.get("task")) not in self._members:
            _send(handler.connection, refused=f"{hello.get('task')} is not a task of this cluster")
            return None
        handler.connection.settimeout(None)
        return str(hello["task"])

    def _keep_informed(self, handler: socketserver.StreamRequestHandler) -> None:
        # Writing every second also finds out, while all still wait, that a member has gone again.
        while not self._wait(lambda: self._formed, _TELL_EVERY):
            _send(handler.connection, waiting=self._missing())
        _send(handler.connection, go=True)
        threading.Thread(target=self._announce_end, args=(handler.connection,), daemon=True).start()

    def _announce_end(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self._wait(lambda: self._over, _ALIVE_EVERY):
                _send(connection, alive=True)
            _send(connection, end=True)
            connection.shutdown(socket.SHUT_WR)

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout=seconds)

    def _note(self, *, formed: bool = False, over: bool = False, told: str = "", finished: str = "") -> None:
        with self._changed:
            self._formed, self._over = self._formed or formed, self._over or over
            self._told |= {told} - {""}
            self._finished |= {finished} - {""}
            self._changed.notify_all()

    def _lost(self, name: str, connection: object) -> None:
        with self._changed:
            if self._present.get(name) is not connection:
                return  # the task has come again since
            if self._formed:
                self._gone.add(name)
            else:
                del self._present[name]
            self._changed.notify_all()

    def part(self) -> None:
        """Wait for the tasks that train to finish, send all away, and leave last."""
        trainers = self._members - self._services
        self._wait(lambda: trainers <= self._finished | self._gone, _PART_TIMEOUT)
        self._note(over=True)
        # A member that hears the end closes its connection: then it no longer needs our TensorFlow server.
        self._wait(lambda: self._members <= self._gone, _HELLO_TIMEOUT)

    def wait_for_end(self) -> None:
        """Never called: a leader trains or coordinates, it does not serve."""
        raise NotImplementedError


class Member:
    """A task that meets the others at the leader."""

    def __init__(self, context: TaskContext, deadline: float, waiting: Tell) -> None:
        self._leader = str(context.leader)
        self._connection = self._connect(context, deadline, waiting)
        self._reader = self._connection.makefile("rb")
        self._lines = _messages(self._reader)
        try:
            self._wait_for_go(context, deadline)
        except _NONSENSE:
            raise LauncherError(f"not {self._leader} but another program answers at {context.rendezvous}") from None

    def _connect(self, context: TaskContext, deadline: float, waiting: Tell) -> socket.socket:
        host, _, port = context.rendezvous.rpartition(":")
        say_at = time.monotonic() + _SAY_EVERY
        while True:
            try:
                return socket.create_connection((host.strip("[]"), int(port)), timeout=2.0)
            except OSError:
                now = time.monotonic()
            if now >= deadline:
                raise _not_formed([f"{self._leader} (nobody answers at {context.rendezvous})"])
            if now >= say_at:
                waiting([f"{self._leader} at {context.rendezvous}"])
                say_at = now + _SAY_EVERY
            time.sleep(min(0.1, deadline - now))

    def _wait_for_go(self, context: TaskContext, deadline: float) -> None:
        missing = [self._leader]
        self._connection.settimeout(_HELLO_TIMEOUT)
        # The leader names the missing tasks itself; here it is enough to know them when time is up.
        with contextlib.suppress(OSError):
            _send(self._connection, task=str(context.task), token=context.token)
            for message in self._lines:
                if "refused" in message:
                    raise LauncherError(f"{self._leader} refused: {message['refused']}")
                if message.get("go"):
                    self._connection.settimeout(_SILENCE)
                    return
                missing = message.get("waiting", missing)
                if time.monotonic() >= deadline:
                    raise _not_formed(missing)
        raise LeaderLost(f"{self._leader} left the rendezvous before all had met; missing were {', '.join(missing)}")

    def part(self) -> None:
        """Say that this task is finished, and wait for the leader's word."""
        with contextlib.suppress(OSError):
            _send(self._connection, finished=True)
        self.wait_for_end()

    def wait_for_end(self) -> None:
        """Wait for the leader's word; raises LeaderLost where it went, or fell silent, without one."""
        heard = False
        with contextlib.suppress(OSError, *_NONSENSE):
            heard = any(message.get("end") for message in self._lines)
        self._reader.close()
        self._connection.close()
        if not heard:
            raise LeaderLost(f"{self._leader} went away without saying that the run is over")


def _listening_place(rendezvous: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return where a leader listens: like TensorFlow's server on every interface, but for a loopback address."""
    # Not at the address itself: it is where others find us, which may not be ours to bind (NAT).
    host, _, port = rendezvous.rpartition(":")
    if host.startswith("["):
        return socket.AF_INET6, ("::1" if host == "[::1]" else "::", int(port))
    if host == "localhost":
        return socket.AF_INET, ("127.0.0.1", int(port))
    return socket.AF_INET, (host if host.startswith("127.") else "0.0.0.0", int(port))  # noqa: S104


def _not_formed(missing: Collection[str]) -> FormationError:
    return FormationError(f"the cluster did not form in time (run.start_timeout); missing: {', '.join(missing)}")


def _send(connection: socket.socket, **message: Any) -> None:
    connection.sendall((json.dumps(message) + "\n").encode())


def _messages(lines: Any) -> Iterator[dict[str, Any]]:
    for line in lines:
        message = json.loads(line) if line.endswith(b"\n") else None  # a last line that broke off says nothing
        if isinstance(message, dict):
            yield message
