"""What the launcher costs: its synchronous regression on two workers against the same loop written by hand.

    python tests/benchmarks/overhead.py [ROUNDS] [EPOCHS]

Both run in turn, so that a machine whose speed drifts does not favour one; medians and their ratio are printed.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROUNDS, EPOCHS = (int(text) for text in (*sys.argv[1:], *("3", "300")[len(sys.argv) - 1 :]))
STEPS = EPOCHS * 17
Figures = tuple[float, float]  # seconds to the first step, steps per second


def launched() -> Figures:
    """Run the committed cluster file on two workers."""
    with tempfile.TemporaryDirectory() as output:
        changes = (f"args.epochs={EPOCHS}", f"run.output={output}", "mode=sync")
        arguments = [word for change in changes for word in ("--set", change)]
        command = [sys.executable, "-m", "launcher", "run", "--json", *arguments]
        printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    result = json.loads(printed[printed.index("{\n") :])
    return result["time_to_first_step_s"], result["steps_per_s"]


def by_hand() -> Figures:
    """Run the same loop in two processes with TF_CONFIG set by hand, pinned to a core each as the file asks."""
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    workers = [f"127.0.0.1:{holder.getsockname()[1]}" for holder in holders]
    for holder in holders:
        holder.close()
    began = time.time()
    processes = []
    for index in range(2):
        config = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        processes.append(
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("bare_worker.py")), str(STEPS)],
                env={**os.environ, "TF_CONFIG": config, "CORE": str(index), "CUDA_VISIBLE_DEVICES": "-1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
    told = [json.loads(process.communicate()[0]) for process in processes]
    return told[0]["first"] - began, told[0]["steps_per_s"]


def main() -> None:
    """Measure both in turn and print the medians and their ratio."""
    figures: dict[str, list[Figures]] = {"launcher": [], "by hand": []}
    for _ in range(ROUNDS):
        figures["launcher"].append(launched())
        figures["by hand"].append(by_hand())
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in figures.items()
    }
    for number, what in enumerate(("seconds to the first step", "steps/s")):
        ours, theirs = medians["launcher"][number], medians["by hand"][number]
        print(f"{what:26} launcher {ours:8.2f}   by hand {theirs:8.2f}   ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
