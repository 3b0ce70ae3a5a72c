"""A task without TensorFlow, for tests of the supervision: does what its arguments say, in order.

A word may have a prefix for whom it is: worker:1/word, first/word (in the first attempt), again/word (in later ones).
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def tell(event: str, **details: object) -> None:
    report(json.dumps({"event": event, **details}))


def report(line: str) -> None:
    with Path(CONTEXT["reports"]).open("w") as pipe:
        pipe.write(f"{line}\n")


def act(word: str) -> None:  # noqa: C901, PLR0912, PLR0915  # a table of words, one case each
    action, _, value = word.partition("=")
    match action:
        case "say":
            print(value, flush=True)
        case "knows":  # of its context
            print(value, CONTEXT[value], flush=True)
        case "stray":  # into the pipe of the reports
            report(value)
        case "args":
            print(len(CONTEXT["args"]["words"]), flush=True)
        case "ready":
            tell("ready")
        case "answers":  # a question for stacks
            faulthandler.register(signal.SIGUSR1)
        case "phase":
            tell("phase", phase=value)
        case "step":
            tell("progress", step=int(value), steps=9, figures={})
        case "result":
            tell("progress", step=1, steps=1, figures={})
            tell("result", steps=1, metrics={"x": 1.0}, steps_per_s=2.0)
        case "error":  # an error.json
            name = f"attempt-{CONTEXT['attempt']}/{CONTEXT['task'].replace(':', '-')}.json"
            error = {"task": CONTEXT["task"], "type": "ValueError", "message": value}
            error |= {"exit_code": 1, "consequence": False, "time_ns": 1}
            (Path(CONTEXT["run_directory"]) / "errors" / name).write_text(json.dumps(error))
        case "exit":
            os._exit(int(value))
        case "sleep":
            time.sleep(float(value))
        case "kill":
            os.kill(os.getpid(), getattr(signal, value))
        case "eat":  # all memory that there is
            eaten = []
            while True:
                eaten.append(bytearray(1 << 20))
        case "ignore":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case "flood":
            sys.stdout.write("".join(f"line {number}\n" for number in range(int(value))))
            sys.stdout.flush()
        case "bytes":
            os.write(1, bytes.fromhex(value))
        case "daemon":  # closes what it has inherited, and uses the numbers for files of its own
            os.closerange(3, 1000)
            for number in range(3, 40):
                os.dup2(os.open(value, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
                os.write(number, (json.dumps({"event": "result", "steps": 7, "metrics": {}}) + "\n").encode())
        case "long":  # a result of so many figures
            tell("result", steps=1, metrics={"x": [0.5] * int(value)}, steps_per_s=2.0)
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


CARRIED = os.environ["LAUNCHER_TASK"]
CONTEXT = json.loads(CARRIED if CARRIED.startswith("{") else Path(CARRIED).read_text())
MINE = {CONTEXT["task"], "first" if CONTEXT["attempt"] == 1 else "again"}


def is_prefix(text: str) -> bool:
    return text in ("first", "again") or text.partition(":")[2].isdecimal()


for argument in sys.argv[1:]:
    word, mine = argument, True
    while is_prefix((parts := word.partition("/"))[0]):
        mine, word = mine and parts[0] in MINE, parts[2]
    if mine:
        act(word)
