"""Enters a network of its own with a way out, says on one line what it got, and runs the code that it is given there.

The first argument is the user to become (0: stay), the second the code; its globals have the answer as ``network``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from launcher.engines.local.network.settled import settle
from tests.support.users import become

user, code = int(sys.argv[1]), compile(sys.argv[2], "code", "exec")
if user:
    become(user)
network, way_out = settle("private")
print(json.dumps(asdict(network)), flush=True)
exec(code)
