"""What watching costs: 200 small tasks for a while, the notice of a death, and a task that prints without a pause.

python tests/benchmarks/supervision.py [TASKS] [SECONDS]
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[2]
TASKS, SECONDS = (int(text) for text in (*sys.argv[1:], *("200", "20")[len(sys.argv) - 1 :]))
LINES = 1_000_000


class Small:
    """A run whose tasks are small programs that do what the words say."""

    def __init__(self, place: Path, tasks: int, *words: str) -> None:
        run = {"network": "host", "start_method": "spawn", "start_timeout": "5m", "restarts": 0}
        content = {"job": "hello", "cluster": {"worker": tasks}, "run": run}
        (place / "cluster.yaml").write_text(yaml.safe_dump(content))
        path = os.pathsep.join([str(ROOT / "tests" / "support" / "small"), str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": path, "LAUNCHER_SMALL_TASK": "\n".join(words)}
        command = [sys.executable, "-m", "launcher", "run"]
        self.files = place / "runs" / "latest"
        self.launcher = psutil.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL)

    def await_event(self, state: str, task: str | None = None) -> float:
        """Return the time of the first event of this kind, once there is one."""
        while True:
            events = self.files / "events.jsonl"
            for line in events.read_text().splitlines() if events.exists() else ():
                event = json.loads(line)
                if (event["state"], event["task"]) == (state, task):
                    return float(event["time"])
            time.sleep(0.02)

    @property
    def family(self) -> list[psutil.Process]:
        """The launcher and its spawner."""
        return [self.launcher, *self.launcher.children()]

    def seconds(self) -> float:
        """Return the CPU time of the launcher and its spawner."""
        return sum(sum(process.cpu_times()[:2]) for process in self.family)


def watch(place: Path) -> None:
    run = Small(place, TASKS, "ready", "step=1", "sleep=600")
    run.await_event("training")
    before = run.seconds()
    time.sleep(SECONDS)
    share = (run.seconds() - before) / SECONDS
    _, spawner = run.family
    task = spawner.children()[TASKS // 2]
    killed = time.time()
    task.send_signal(signal.SIGKILL)
    noticed = run.await_event("stopping")
    print(f"{TASKS} tasks: {share:.2%} of a core; a death is noticed after {(noticed - killed) * 1000:.0f} ms")
    run.launcher.wait()


def print_much(place: Path) -> None:
    run = Small(place, 2, "worker:1/ready", f"worker:0/flood={LINES}", "worker:0/ready", "sleep=600")
    began = time.time()
    other = run.await_event("ready", "worker:1") - began
    ready = run.await_event("ready", "worker:0") - began
    run.launcher.terminate()
    run.launcher.wait()
    written = (run.files / "logs" / "attempt-1" / "worker-0.log").read_text().splitlines()
    whole = written == [f"line {number}" for number in range(LINES)]
    print(
        f"{LINES} lines: {LINES / ready:,.0f} a second, every one in the log: {whole}; "
        f"the other task was ready after {other:.1f} s"
    )


if __name__ == "__main__":
    for measure in (watch, print_much):
        with tempfile.TemporaryDirectory() as directory:
            measure(Path(directory))
