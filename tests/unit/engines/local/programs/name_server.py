"""A name server at 127.0.0.53: every name has the address that the first argument is.

Names that begin with ``long`` are answered over TCP alone, as if the answer were too long for a datagram.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading

ADDRESS, WHERE = sys.argv[1], ("127.0.0.53", 53)
CUT_OFF, ANSWER = 0x8380, 0x8180  # flags


def answer(question: bytes, *, by_tcp: bool) -> bytes:
    end = question.index(b"\0", 12) + 5  # of the name, its type and its class
    name, (kind,) = question[12:end], struct.unpack("!H", question[end - 4 : end - 2])
    if name[1:].startswith(b"long") and not by_tcp:
        return question[:2] + struct.pack("!HHHHH", CUT_OFF, 1, 0, 0, 0) + name
    found = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(ADDRESS) if kind == 1 else b""
    return question[:2] + struct.pack("!HHHHH", ANSWER, 1, bool(found), 0, 0) + name + found


def by_tcp(listening: socket.socket) -> None:
    while True:
        connection, _ = listening.accept()
        with connection:
            size, *_ = struct.unpack("!H", connection.recv(2))
            answered = answer(connection.recv(size), by_tcp=True)
            connection.sendall(struct.pack("!H", len(answered)) + answered)


with socket.create_server(WHERE) as listening, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
    datagrams.bind(WHERE)
    threading.Thread(target=by_tcp, args=(listening,), daemon=True).start()
    print("ready", flush=True)
    while True:
        asked, client = datagrams.recvfrom(4096)
        datagrams.sendto(answer(asked, by_tcp=False), client)
