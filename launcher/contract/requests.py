"""Requests with open files, over a Unix socket: from the launcher to its spawner, and on to the fork server."""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

_LENGTH = struct.Struct("!I")
_MOST = 253  # open files in one message (SCM_MAX_FD, linux/include/net/scm.h)


def send_request(connection: socket.socket, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one request, with open files for the other process to take over."""
    payload = json.dumps(request).encode()
    socket.send_fds(connection, [_LENGTH.pack(len(payload))], list(descriptors))
    connection.sendall(payload)


def receive_request(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive what ``send_request`` sent; raises EOFError if the other side has gone."""
    header, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, maxfds=_MOST)
    if len(header) < _LENGTH.size:
        raise EOFError
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    payload = bytearray()
    (length,) = _LENGTH.unpack(header)
    while len(payload) < length:
        chunk = connection.recv(length - len(payload))
        if not chunk:
            raise EOFError
        payload += chunk
    request: dict[str, Any] = json.loads(payload)
    return request, list(array.array("i", descriptors))
