"""Measures how long help, plan and config get take, as multiples of a bare interpreter's start (help: at most 6).

python tests/benchmarks/help_start.py [ROUNDS]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).parents[2]
LAUNCHER = [sys.executable, "-m", "launcher"]
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "… click, pydantic, yaml'": [sys.executable, "-c", "import click, yaml; from pydantic import BaseModel, Field"],
    "launcher --help": [*LAUNCHER, "--help"],
    "launcher plan --help": [*LAUNCHER, "plan", "--help"],
    "launcher plan": [*LAUNCHER, "plan"],
    "launcher config get": [*LAUNCHER, "config", "get", "mode"],
}


def measure(command: list[str]) -> float:
    """Return the seconds that one start takes, from fork to exit."""
    start = perf_counter()
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - start


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    for command in COMMANDS.values():  # bytecode and disk caches are warm before the first figure
        measure(command)
    # Interleaved, so that a machine that slows down slows all of them.
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            times[name].append(measure(command))
    bare = median(times["python -c pass"])
    for name, seconds in times.items():
        print(f"{name:28} median {median(seconds) * 1000:6.1f} ms, {median(seconds) / bare:.2f} x bare")


if __name__ == "__main__":
    main()
