"""The cluster that a scenario hits: its file, its job, and the little memory or disk that it has."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.faults.scenario import Scenario
from tests.support.jobs import ARGS, RUN
from tests.support.memory_group import memory_group
from tests.support.workplace import Workplace

DISK = "24m"  # of the small disk; a run takes a tenth of it
MEMORY, MEMORY_NAMED = 2 << 30, "limit of the control group: 2.0 GiB"  # a run takes half of it
TEMPORARY = "tmp"  # the directory of a scenario's temporary files
STALL = 8  # seconds that nothing may move where steps or batches are slow; the other runs have more
SLOW_STEP = 3.2  # seconds
LEAST = 300  # steps that a run makes until it is in the middle
SLOW_BATCHES = "slow-batches"  # the file that lets them be
SLOW_BATCH = 0.04  # seconds; LEAST of them take longer than STALL
BIG, KEPT = 200 << 20, 2  # bytes of a big checkpoint, and how many are kept
# The regression, whose tasks do what files beside it say; the figures stay those of the regression.
JOB = """
import time
import tensorflow as tf
from jobs.linear_regression.job import LinearRegression

ONE = tf.VariableAggregation.ONLY_FIRST_REPLICA

class Obedient(LinearRegression):
    def build(self):
        super().build()
        if {big}:
            self.big = tf.Variable(tf.zeros([{big} // 4]), trainable=False, aggregation=ONE)

    def dataset(self, shard):
        batches = super().dataset(shard)
        if not {skips}:
            return batches
        ticks = tf.data.Dataset.from_generator(self.ticks, output_signature=tf.TensorSpec([], tf.int64))
        return tf.data.Dataset.zip(batches, ticks).map(lambda batch, tick: batch)

    def ticks(self):
        while True:
            if (self.directory / "{slow_batches}").exists():
                time.sleep({slow_batch})
            yield 0

    def train_step(self, batch):
        with tf.control_dependencies([self.waited(), self.eaten()]):
            return super().train_step(batch)

    def waited(self):
        slow, began = self.told("slow"), tf.timestamp()
        return tf.while_loop(
            lambda now: tf.logical_and(slow, now < began + {slow_step}), lambda now: [tf.timestamp()], [began]
        )[0]

    def eaten(self):
        now = tf.cast(tf.timestamp(), tf.float32)
        return tf.cond(self.told("eat"), lambda: tf.reduce_sum(tf.fill([{memory} // 4], now)), lambda: now)

    def told(self, what):
        name = str(self.context.task)
        if name == "chief:0":  # whose code an asynchronous worker runs
            index = tf.distribute.coordinator.experimental_get_current_worker_index()
            name = tf.strings.join(["worker:", tf.strings.as_string(index)])
        nothing = tf.strings.substr(tf.strings.as_string(tf.timestamp()), 0, 0)  # and no constant, to be looked up once
        return tf.size(tf.io.matching_files(tf.strings.join([f"{{self.directory}}/{{what}}-", name, nothing]))) > 0
"""
OBEDIENT = frozenset({"out of memory", "slow step", "big checkpoint", "slow skip"})


def lacking() -> str:
    """Return why scenarios cannot be run on this machine; empty if they can."""
    if os.geteuid():
        return "the fault runner mounts small disks, to fill them, and only root may; run it as root"
    try:
        with memory_group(MEMORY):
            return ""
    except OSError as error:
        return f"the fault runner limits the memory of some runs, and no control group can be made here: {error}"


@contextmanager
def workplace(scenario: Scenario, start_method: str) -> Iterator[Workplace]:
    """Make a directory for the scenario, with its cluster file and, where that is hit, little memory or disk."""
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True)
        directory = Path(stack.enter_context(temporary))
        for name in ("runs", TEMPORARY):
            (directory / name).mkdir()
        if scenario.fault == "disk full":
            stack.enter_context(_small_disk(directory / "runs"))
        place = stack.enter_context(Workplace(directory, TMPDIR=str(directory / TEMPORARY)))
        if scenario.fault == "out of memory":
            place.command = (*stack.enter_context(memory_group(MEMORY)), *place.command)
        place.write(**_content(scenario, start_method))
        if scenario.fault in OBEDIENT:
            (directory / "obedient.py").write_text(_job(scenario))
        yield place


@contextmanager
def _small_disk(directory: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "faults", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def _job(scenario: Scenario) -> str:
    big = BIG if scenario.fault == "big checkpoint" else 0
    skips = scenario.fault == "slow skip"
    slow = {"slow_batches": SLOW_BATCHES, "slow_batch": SLOW_BATCH, "slow_step": SLOW_STEP}
    return JOB.format(big=big, skips=skips, memory=MEMORY, **slow)


def _content(scenario: Scenario, start_method: str) -> dict[str, Any]:
    target, mode = scenario.target, scenario.mode
    cluster = {"worker": 2} if mode == "sync" or target.startswith("worker") else {"worker": 1}
    cluster |= {"ps": 1} if mode == "async" else {}
    cluster |= {"evaluator": 1} if target == "evaluator:0" else {}
    run = RUN | {"start_timeout": "20s", "stall_timeout": "20s", "network": scenario.network}
    run |= {"start_method": start_method} | _run_of(scenario.fault)
    # A call of an asynchronous worker tells that it moves ten times.
    args = ARGS | ({"steps_per_call": 10} if (mode, scenario.fault) == ("async", "slow step") else {})
    job = "obedient.py" if scenario.fault in OBEDIENT else "linear_regression"
    return {"mode": mode, "job": job, "args": args, "cluster": cluster, "run": run}


def _run_of(fault: str) -> dict[str, Any]:
    """Return what a fault's run has that the others do not have."""
    match fault:
        case "slow step":
            return {"stall_timeout": f"{STALL}s"}
        case "slow skip":
            return {"stall_timeout": f"{STALL}s", "timeouts": {"data": f"{STALL}s"}}
        case "big checkpoint":
            return {"checkpoint": {"every": "300 steps", "keep": KEPT}}
    return {}
