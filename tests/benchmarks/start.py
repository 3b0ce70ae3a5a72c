"""What a user waits for: the command until the first printed epoch, cold and warm, and a death until training goes on.

    python tests/benchmarks/start.py [ROUNDS] [--torchrun PATH [--short]]

Each is told in bare imports of TensorFlow (`python -c "import tensorflow"`), measured in turn with it on this machine.
With the `torchrun` of an environment that has PyTorch, the same is measured of it, in the same rounds; `--short` is two
forked tasks and torchrun's, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parents[2]
REGRESSION = {"job": "linear_regression", "args": {"epochs": 3000, "report_every": 1}}
KERAS = {"job": "keras_job.py", "args": {}}
# Trains one Keras model with a loop of its own; its first evaluation is the first epoch.
KERAS_JOB = """
import keras
from jobs.hello import Hello

class Model(Hello):
    def build(self):
        super().build()
        keras.Sequential([keras.Input((8,)), keras.layers.Dense(32), keras.layers.Dense(2)])

    def evaluate(self):
        print("Epoch: 1", flush=True)
        return super().evaluate()
"""
TORCHRUN = ("--standalone", "--nproc-per-node=2", "--max-restarts=3")
DDP = (str(Path(__file__).with_name("ddp.py")), "0", "1000000000")


def bare_import() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


class Command:
    """A command that runs, and what it prints."""

    def __init__(self, command: list[str], place: Path, **environment: str) -> None:
        self.began, self.began_at = time.monotonic(), time.time()
        self.process = subprocess.Popen(
            command,
            cwd=place,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, word: str) -> str:
        """Return the next line with this word."""
        assert self.process.stdout
        printed = []
        for line in self.process.stdout:
            printed.append(line)
            if word in line:
                return line
        raise AssertionError(f"{word!r} never came: {''.join(printed)}")

    def lasted(self) -> float:
        """Return the seconds since it began."""
        return time.monotonic() - self.began

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.communicate()


class Run(Command):
    """One run, watched."""

    def __init__(self, place: Path, workers: int, content: Mapping[str, object] = REGRESSION, **run: object) -> None:
        cluster = {"name": "start", "cluster": {"worker": workers}, "run": {"network": "host", **run}}
        (place / "cluster.yaml").write_text(yaml.safe_dump(cluster | dict(content)))
        (place / "keras_job.py").write_text(KERAS_JOB)
        self.place = place
        command = [sys.executable, "-m", "launcher", "run"]
        super().__init__(command, place, PYTHONPATH=str(ROOT), XDG_RUNTIME_DIR=str(place))
        self.until("Epoch: ")
        self.first_epoch = self.lasted()

    def tasks(self) -> list[psutil.Process]:
        """Return the processes of the tasks."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in below if " ".join(one.cmdline()).startswith("launcher worker:")]

    def parts(self) -> dict[str, float]:
        """Return the seconds of each part of the start, until the first printed epoch, as events.jsonl tells them."""
        events = self.events()
        last = {event["state"]: float(event["time"]) for event in events if event["attempt"] == 1}
        ends = {
            "interpreter, the launcher's imports": events[0]["time"] - events[0]["elapsed"],
            "file, placement, spawner": last["started"],
            "import of TensorFlow, fork": last["placed"],
            "the job's module": last["meeting"],
            "rendezvous, strategy": last["ready"],
            "build, trace, first epoch": self.began_at + self.first_epoch,
        }
        begins = [self.began_at, *ends.values()]
        return {name: end - begin for (name, end), begin in zip(ends.items(), begins, strict=False)}

    def events(self) -> list[dict[str, Any]]:
        """Return what events.jsonl has by now."""
        return [json.loads(line) for line in (self.place / "runs/latest/events.jsonl").read_text().splitlines()]

    def memory(self) -> float:
        """Return the memory of all tasks and of what they were forked from, in MiB for each task (PSS)."""
        tasks = self.tasks()
        (spawner,) = {task.ppid() for task in tasks}
        family = psutil.Process(spawner).children()
        return sum(one.memory_full_info().pss for one in family) / 2**20 / len(tasks)

    def recovery(self) -> float:
        """Kill a worker; return the seconds until the first step after that, as events.jsonl tells it."""
        killed = time.time()
        next(task for task in self.tasks() if "worker:1" in " ".join(task.cmdline())).kill()
        while True:
            self.until("Epoch: ")
            for event in self.events():
                if event["state"] == "recovered":
                    return float(event["time"]) - killed


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="s") as place:
        yield Path(place)


def two_tasks(figures: dict[str, list[float]], method: str) -> None:
    with directory() as place:
        two = Run(place, 2, start_method=method)
        figures[f"2 tasks, {method}"].append(two.first_epoch)
        for part, seconds in two.parts().items():
            figures[f"  {part}"] += [seconds] * (method == "fork")
        figures[f"death → first step, {method}"].append(two.recovery())
        two.stop()


def eight_tasks(figures: dict[str, list[float]], method: str) -> None:
    with directory() as place:
        eight = Run(place, 8, start_method=method)
        figures[f"8 tasks, {method}"].append(eight.first_epoch)
        figures[f"MiB a task, 8 tasks, {method}"].append(eight.memory())
        eight.stop()


def keras(figures: dict[str, list[float]]) -> None:
    for method in ("fork", "spawn"):
        with directory() as place:
            run = Run(place, 2, KERAS, start_method=method)
            figures[f"2 tasks with Keras, {method}"].append(run.first_epoch)
            run.process.communicate()


def warm(figures: dict[str, list[float]]) -> None:
    with directory() as place:
        for name in ("2 tasks, to be kept warm", "2 tasks, warm"):
            one = Run(place, 2, keep_warm="20s")
            one.stop()
            figures[name].append(one.first_epoch)
        # The spawner ends by itself; its socket is in the directory that goes now.


def torchrun(figures: dict[str, list[float]], program: str) -> None:
    """Measure torchrun; a round in which its processes do not find each other again after the death is told."""
    with directory() as place:
        run = Command(["timeout", "60", program, *TORCHRUN, *DDP], place)
        # Words of "first step: rank RANK pid PID at TIME".
        lines = [run.until("first step: ").split() for _ in range(2)]
        figures["2 tasks, torchrun"].append(run.lasted())
        killed = time.time()
        psutil.Process(next(int(line[5]) for line in lines if line[3] == "1")).kill()
        try:
            ends = [float(run.until("first step: ").split()[7]) for _ in range(2)]
            figures["death → first step, torchrun"].append(max(ends) - killed)
        except AssertionError:
            print("torchrun did not train again within a minute")
        run.stop()


def show(figures: Mapping[str, list[float]]) -> None:
    bare = statistics.median(figures["bare import"])
    for name, seconds in figures.items():
        middle, spread = statistics.median(seconds), f"{min(seconds):.2f} to {max(seconds):.2f}"
        ratio = "" if name.startswith("MiB") else f"{middle / bare:5.2f} imports"
        print(f"{name:40} {middle:8.2f}   {ratio:14} ({spread})")
    for name in ("2 tasks", "death → first step"):
        if theirs := figures.get(f"{name}, torchrun"):
            ours = statistics.median(figures[f"{name}, fork"])
            print(f"{name}: {ours / statistics.median(theirs):.2f} × torchrun")


def main() -> None:
    """Measure everything in turn, and print medians and ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    parser.add_argument("--torchrun", metavar="PATH")
    parser.add_argument("--short", action="store_true")
    asked = parser.parse_args()
    figures: dict[str, list[float]] = defaultdict(list)
    for _ in range(asked.rounds):
        figures["bare import"].append(bare_import())
        two_tasks(figures, "fork")
        if not asked.short:
            eight_tasks(figures, "fork")
            two_tasks(figures, "spawn")
            eight_tasks(figures, "spawn")
            keras(figures)
            warm(figures)
        if asked.torchrun:
            torchrun(figures, asked.torchrun)
    show(figures)


if __name__ == "__main__":
    main()
