"""Name servers on the host's loopback, such as systemd-resolved's, asked from inside a private network.

There, that address is the network's own loopback, where nobody listens. So a process inside opens the sockets, and
hands them to one outside, which passes on what it is asked.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

_FILE = Path("/etc/resolv.conf")
_PORT = 53
_PATIENCE = 10.0  # seconds for an answer; resolvers wait 5 and ask again
_MOST = 64  # questions at once; the others wait
_LONGEST = 1 << 16  # bytes
_ASKED = 3  # resolv.conf(5): MAXNS

Client = tuple[str | int, ...]  # as recvfrom gives it
Listening = tuple[str, socket.socket, socket.socket]  # the server's address, for datagrams, for connections


def listeners() -> list[Listening]:
    """Return the sockets, of this network, at the address of each name server on loopback."""
    text = _FILE.read_text(encoding="utf-8", errors="replace") if _FILE.exists() else ""
    return [_listening(server) for server in on_loopback(text)]


def on_loopback(text: str) -> list[str]:
    """Return the name servers on loopback among those of a resolv.conf that are asked."""
    servers = [words[1] for line in text.splitlines() if (words := line.split())[:1] == ["nameserver"] and words[1:]]
    return [server for server in dict.fromkeys(servers[:_ASKED]) if _is_loopback(server)]


def _is_loopback(server: str) -> bool:
    try:
        return ip_address(server).is_loopback
    except ValueError:  # no resolver takes it either
        return False


def _listening(server: str) -> Listening:
    datagrams = socket.socket(_family(server), socket.SOCK_DGRAM)
    datagrams.bind((server, _PORT))
    return server, datagrams, socket.create_server((server, _PORT), family=_family(server))


def _family(server: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server else socket.AF_INET


def relay(servers: Sequence[str], files: Sequence[int]) -> None:
    """Answer, from this network, what comes in through the sockets of ``listeners``; returns at once."""
    sockets = [socket.socket(fileno=file) for file in files]
    slots = threading.BoundedSemaphore(_MOST)
    for server, datagrams, connections in zip(servers, sockets[::2], sockets[1::2], strict=True):
        _beside(_datagrams, server, datagrams, slots)
        _beside(_connections, server, connections, slots)


def _beside(function: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _datagrams(server: str, listening: socket.socket, slots: threading.BoundedSemaphore) -> None:
    while True:
        question, client = listening.recvfrom(_LONGEST)
        slots.acquire()
        _beside(_answer, server, listening, question, client, slots)


def _answer(
    server: str, listening: socket.socket, question: bytes, client: Client, slots: threading.BoundedSemaphore
) -> None:
    # Without an answer the resolver asks again, as it does if a server is slow.
    with _given_back(slots), suppress(OSError), socket.socket(_family(server), socket.SOCK_DGRAM) as asking:
        asking.settimeout(_PATIENCE)
        asking.connect((server, _PORT))
        asking.send(question)
        listening.sendto(asking.recv(_LONGEST), client)


def _connections(server: str, listening: socket.socket, slots: threading.BoundedSemaphore) -> None:
    while True:
        client, _ = listening.accept()
        slots.acquire()
        _beside(_carry, server, client, slots)


def _carry(server: str, client: socket.socket, slots: threading.BoundedSemaphore) -> None:
    with _given_back(slots), client, suppress(OSError), socket.create_connection((server, _PORT), _PATIENCE) as there:
        other = {client: there, there: client}
        while readable := select.select([client, there], [], [], _PATIENCE)[0]:
            for end in readable:
                if not (data := end.recv(_LONGEST)):
                    return
                other[end].sendall(data)


@contextmanager
def _given_back(slots: threading.BoundedSemaphore) -> Iterator[None]:
    try:
        yield
    finally:
        slots.release()
