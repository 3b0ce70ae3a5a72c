"""A task without TensorFlow, for tests of the supervision: does what its arguments say, in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

REPORT_FD = 3


def tell(event: str, **details: object) -> None:
    os.write(REPORT_FD, (json.dumps({"event": event, **details}) + "\n").encode())


def act(word: str) -> None:  # noqa: C901, PLR0912  # a table of words, one case each
    action, _, value = word.partition("=")
    match action:
        case "say":
            print(value, flush=True)
        case "stray":  # into the pipe of the reports
            os.write(REPORT_FD, f"{value}\n".encode())
        case "ready":
            tell("ready")
        case "result":
            tell("progress", step=1, steps=1, figures={})
            tell("result", steps=1, metrics={"x": 1.0}, steps_per_s=2.0)
        case "exit":
            os._exit(int(value))
        case "sleep":
            time.sleep(float(value))
        case "kill":
            os.kill(os.getpid(), getattr(signal, value))
        case "ignore":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "flood":
            sys.stdout.write("".join(f"line {number}\n" for number in range(int(value))))
            sys.stdout.flush()
        case "bytes":
            os.write(1, bytes.fromhex(value))
        case "close":
            os.close(1)
            os.close(2)
        case "grandchild":  # one that leaves the group, and says who it is in a file
            program = f"import os, time; open({value!r}, 'w').write(str(os.getpid())); time.sleep(600)"
            subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
            while not (Path(value).exists() and Path(value).stat().st_size):
                time.sleep(0.01)
        case "touch":
            Path(value).touch()
        case "await":
            while not Path(value).exists():
                time.sleep(0.01)
        case "fd":
            print("inherited", sorted(int(path.name) for path in Path("/proc/self/fd").iterdir()), flush=True)
        case _:
            raise ValueError(word)


ME = json.loads(os.environ["LAUNCHER_TASK"])["task"]
for argument in sys.argv[1:]:
    # worker:1/word: only that task does it
    only, slash, word = argument.partition("/")
    if slash and only.startswith("worker:"):
        if only == ME:
            act(word)
    else:
        act(argument)
