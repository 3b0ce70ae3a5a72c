"""What a user waits for: the command until the first printed epoch, cold and warm, and a death until training goes on.

    python tests/benchmarks/start.py [ROUNDS]

Each is told in bare imports of TensorFlow (`python -c "import tensorflow"`), measured in turn with it on this machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[2]
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
LONG = {"epochs": 3000, "report_every": 1}


def bare_import() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


class Run:
    """One run of the regression, watched."""

    def __init__(self, place: Path, workers: int, **run: object) -> None:
        content = {"name": "start", "job": "linear_regression", "args": LONG, "cluster": {"worker": workers}}
        (place / "cluster.yaml").write_text(yaml.safe_dump(content | {"run": {"network": "host", **run}}))
        self.place, self.began = place, time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(place)}
        command = [sys.executable, "-m", "launcher", "run"]
        self.launcher = subprocess.Popen(
            command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.first_epoch = self.until("Epoch: ") - self.began

    def until(self, word: str) -> float:
        """Return when it has printed a line with this word."""
        assert self.launcher.stdout
        for line in self.launcher.stdout:
            if word in line:
                return time.monotonic()
        raise AssertionError(f"{word!r} never came")

    def tasks(self) -> list[psutil.Process]:
        """Return the processes of the tasks."""
        everyone = psutil.process_iter()
        return [one for one in everyone if " ".join(one.cmdline()).startswith("launcher worker:") and self._owns(one)]

    def _owns(self, process: psutil.Process) -> bool:
        return str(self.place) in " ".join(process.cmdline())

    def memory(self) -> float:
        """Return the memory of all tasks and of what they were forked from, in MiB for each task (PSS)."""
        tasks = self.tasks()
        (spawner,) = {task.ppid() for task in tasks}
        family = psutil.Process(spawner).children()
        return sum(one.memory_full_info().pss for one in family) / 2**20 / len(tasks)

    def recovery(self) -> float:
        """Kill a worker; return the seconds until training continues, as events.jsonl has them."""
        next(task for task in self.tasks() if "worker:1" in " ".join(task.cmdline())).kill()
        self.until("Epoch: ")
        while True:
            events = (self.place / "runs" / "latest" / "events.jsonl").read_text().splitlines()
            for event in map(json.loads, events):
                if event["state"] == "recovered":
                    return float(event["details"]["seconds"])
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        self.launcher.terminate()
        self.launcher.communicate()


def measured(figures: dict[str, list[float]]) -> None:
    figures["bare import"].append(bare_import())
    for name, workers, run in (
        ("2 tasks, forked", 2, {}),
        ("2 tasks, spawned", 2, {"start_method": "spawn"}),
        ("8 tasks, forked", 8, {}),
        ("8 tasks, spawned", 8, {"start_method": "spawn"}),
    ):
        with tempfile.TemporaryDirectory(prefix="s") as place:
            one = Run(Path(place), workers, **run)
            figures[name].append(one.first_epoch)
            if workers == 8:
                figures[f"MiB a task, {name}"].append(one.memory())
            else:
                figures[f"death → training, {name}"].append(one.recovery())
            one.stop()
    with tempfile.TemporaryDirectory(prefix="s") as place:
        for name in ("cold", "2 tasks, warm"):
            one = Run(Path(place), 2, keep_warm="20s")
            one.stop()
            figures[name].append(one.first_epoch)
        # The spawner ends by itself; its socket is in the directory that goes now.


def main() -> None:
    """Measure everything in turn, and print medians and ratios."""
    figures: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        measured(figures)
    bare = statistics.median(figures["bare import"])
    for name, seconds in figures.items():
        middle, spread = statistics.median(seconds), f"{min(seconds):.2f} to {max(seconds):.2f}"
        ratio = "" if name.startswith("MiB") else f"{middle / bare:5.2f} imports"
        print(f"{name:40} {middle:8.2f}   {ratio:14} ({spread})")


if __name__ == "__main__":
    main()
