"""Reception: who comes to the rendezvous. Anyone on the network may, and say anything; members say who they are."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Collection
from secrets import compare_digest
from typing import Any, NamedTuple

from launcher.errors import LauncherError
from launcher.runtime.rendezvous.messages import HELLO_LIMIT, HELLO_TIMEOUT, NONSENSE, send

_MOST_STRANGERS = 256  # connections that have not said who they are; one more, and the oldest of them is closed


class Hello(NamedTuple):
    """What a member introduces itself with."""

    name: str
    holds: frozenset[str]  # identities of the checkpoints that it has


class Conversation(socketserver.StreamRequestHandler):
    """One connection, in a thread of its own."""

    server: _Reception
    timeout = HELLO_TIMEOUT

    def handle(self) -> None:
        """Converse, whatever comes."""
        with contextlib.suppress(OSError, *NONSENSE):
            self.server.converse(self)

    def hello(self, token: str, members: Collection[str], left_out: Collection[str]) -> Hello | None:
        """Return who this is; None for whoever does not belong here, which is told why."""
        hello = json.loads(self.rfile.readline(HELLO_LIMIT))
        if not isinstance(hello, dict) or not compare_digest(str(hello.get("token")).encode(), token.encode()):
            self._refuse("this rendezvous belongs to another run, or the cluster files differ")
            return None
        name = str(hello.get("task"))
        if name not in members:
            self._refuse(
                f"the run goes on without {name}" if name in left_out else f"{name} is not a task of this cluster"
            )
            return None
        self.server.introduced(self.connection)
        self.connection.settimeout(None)
        holds = hello.get("holds")
        return Hello(name, frozenset(map(str, holds if isinstance(holds, list) else [])))

    def _refuse(self, why: str) -> None:
        send(self.connection, refused=why)


class _Reception(socketserver.ThreadingTCPServer):
    request_queue_size = socket.SOMAXCONN  # all members come at once
    allow_reuse_address = True
    # The launcher holds the port for us until we are here (see supervise/ports.py).
    allow_reuse_port = True
    daemon_threads = True

    def __init__(self, rendezvous: str, converse: Callable[[Conversation], None]) -> None:
        self.address_family, address = _listening_place(rendezvous)
        self.converse = converse
        self._strangers: dict[socket.socket, None] = {}  # the oldest first
        self._lock = threading.Lock()
        super().__init__(address, Conversation)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a conversation; where too many say nothing, the one that came first has to go."""
        with self._lock:
            self._strangers[request] = None
            if len(self._strangers) > _MOST_STRANGERS:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # ends its thread's waiting
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a conversation."""
        self.introduced(request)
        super().shutdown_request(request)

    def introduced(self, connection: socket.socket) -> None:
        """Count a connection as a stranger's no longer."""
        with self._lock:
            self._strangers.pop(connection, None)


def listen(rendezvous: str, converse: Callable[[Conversation], None]) -> socketserver.TCPServer:
    """Listen at the rendezvous and hold each conversation in a thread of its own; LauncherError where it cannot."""
    try:
        server = _Reception(rendezvous, converse)
    except OSError as error:
        raise LauncherError(f"cannot listen at the rendezvous {rendezvous}: {error.strerror}") from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _listening_place(rendezvous: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return where a leader listens: like TensorFlow's server on every interface, but for a loopback address."""
    # Not at the address itself: it is where others find us, which may not be ours to bind (NAT).
    host, _, port = rendezvous.rpartition(":")
    if host.startswith("["):
        return socket.AF_INET6, ("::1" if host == "[::1]" else "::", int(port))
    if host == "localhost":
        return socket.AF_INET, ("127.0.0.1", int(port))
    return socket.AF_INET, (host if host.startswith("127.") else "0.0.0.0", int(port))  # noqa: S104
