"""Enters a network of its own, listens there, and says on one line what it sees; ends with its stdin.

The first argument is the user to become (0: stay), the second the step that the kernel refuses, if any.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from launcher.engines.local.network import namespace
from tests.support.users import become


def refuse(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


user, refused = int(sys.argv[1]), sys.argv[2]
if user:
    become(user)
if refused:
    setattr(namespace, refused, refuse)
before = Path("/proc/self/ns/net").readlink()
why = namespace.enter_private_network()
with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    seen = {
        "why": why,
        "same": Path("/proc/self/ns/net").readlink() == before,
        "ids": [os.getuid(), os.getgid()],
        "interfaces": [name for _, name in socket.if_nameindex()],
        "port": port,
    }
    print(json.dumps(seen), flush=True)
    sys.stdin.read()
