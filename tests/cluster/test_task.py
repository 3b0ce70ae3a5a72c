"""One task as a process of its own, from its context to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from launcher.contract.context import CheckpointPolicy, TaskContext
from launcher.contract.environment import TASK_KEY
from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.engines.local.process import Processes
from launcher.engines.local.report_pipe import ReportPipe
from launcher.rundir import RunFiles
from tests.support.processes import network_of
from tests.support.workplace import PATIENCE, ROOT
from tests.unit.runtime.conftest import task_context

COMMAND = [sys.executable, "-P", "-m", "launcher.runtime.main"]
JOB = """
    import tensorflow as tf
    from launcher.runtime.job import Job

    class Mine(Job):
        steps, steps_per_call = 4, 3

        def build(self):
            self.v = tf.Variable(0.0)

        def dataset(self, shard):
            return tf.data.Dataset.from_tensors(0.5).repeat()

        def train_step(self, batch):
            self.v.assign_add(batch)
            return {}

        def evaluate(self):
            return {"v": self.v}

        def report(self, run, history):
            (run.directory / "seen.txt").write_text(str([record["step"] for record in history]))
"""
KERAS = """
    from launcher.runtime.job import Job
    import keras
    import tensorflow as tf

    class Mine(Job):
        steps = 0

        def evaluate(self):
            model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
            model.compile(optimizer=tf.keras.optimizers.SGD(0.1), loss="mse")
            return {"ones": float(model(tf.ones((1, 2)))[0, 0]), "same": tf.keras.layers.Dense is keras.layers.Dense}
"""


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    files = RunFiles(tmp_path / "run")
    files.directory.mkdir()
    files.prepare_attempt(1)
    return files


def context(files: RunFiles, **changes: Any) -> TaskContext:
    directory = files.directory.parent
    policy = CheckpointPolicy(every_seconds=3600.0)
    changes = {"run_directory": str(files.directory), "job": "train.py", "checkpoint": policy, **changes}
    return task_context(directory=directory, **changes)


@pytest.fixture(scope="module")
def spawner() -> Iterator[Processes]:
    """A spawner whose tasks are forked from one import."""
    with Processes("host") as processes:
        network_of(processes)
        processes.connection.settimeout(PATIENCE)
        yield processes


class Ran:
    """A task that has ended."""

    def __init__(self, files: RunFiles, script: str, spawner: Processes | None = None, **changes: Any) -> None:
        """Without a spawner it is a process of its own from the beginning."""
        (files.directory.parent / "train.py").write_text(textwrap.dedent(script))
        pipe = ReportPipe(files.directory.parent / "reports")
        told = context(files, reports=str(files.directory.parent / "reports"), **changes)
        environment = {TASK_KEY: told.to_json(), "CUDA_VISIBLE_DEVICES": "-1"}
        if spawner:
            self.output, self.code = "", forked(spawner, told.task, environment)
        else:
            self.output, self.code = started(environment)
        told_all = list(map(json.loads, pipe.close()))  # what these jobs tell fits into a pipe
        self.phases = [there["phase"] for there in told_all if there["event"] == "phase"]
        self.told = [there for there in told_all if there["event"] not in ("phase", "moving")]
        path = files.error(1, told.task.slug)
        self.error: Mapping[str, Any] = json.loads(path.read_text()) if path.exists() else {}


def started(environment: Mapping[str, str]) -> tuple[str, int]:
    """Run a task as a new process; return what it printed and its exit code."""
    process = subprocess.Popen(
        COMMAND,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    output, _ = process.communicate()
    return output, process.returncode


def forked(spawner: Processes, task: Task, environment: Mapping[str, str]) -> int:
    """Run a task that the spawner forks; return its exit code."""
    with open(os.devnull, "w") as output:  # noqa: PTH123
        spawner.start(task, COMMAND, environment, output.fileno(), fork=True)
    while True:
        for message in spawner.receive():
            if "exited" in message:
                return int(message["code"])


def test_a_task_trains_reports_and_ends_with_0(files: RunFiles) -> None:
    ran = Ran(files, JOB)
    assert (ran.code, ran.error) == (0, {})
    assert [there["event"] for there in ran.told] == [
        "started",
        "meeting",
        "ready",
        "progress",
        "progress",
        "finished",
        "result",
    ]
    assert (ran.phases[:3], ran.phases[-1]) == (["import", "build", "data"], "report")
    assert {"evaluate", "save"} <= set(ran.phases)
    assert [there["step"] for there in ran.told if there["event"] == "progress"] == [3, 4]
    assert {key: ran.told[-1][key] for key in ("metrics", "steps")} == {"metrics": {"v": 2.0}, "steps": 4}
    assert ran.output.startswith("step 4/4  ")
    assert ran.output.endswith("  v=2\n")
    assert (files.directory / "seen.txt").read_text() == "[3, 4]"
    assert [path.name for path in files.checkpoints.iterdir()] == ["step-0000000004"]


def test_a_job_uses_keras_as_always(files: RunFiles, spawner: Processes) -> None:
    ran = Ran(files, KERAS, spawner)
    assert ran.error == {}
    assert ran.told[-1]["metrics"] == {"ones": 2.0, "same": True}


def test_a_task_whose_step_fails_ends_with_1_and_the_users_lines(files: RunFiles) -> None:
    ran = Ran(files, JOB.replace("self.v.assign_add(batch)", "raise ValueError('bad batch')"))
    assert ran.code == 1
    assert (ran.error["type"], ran.error["message"]) == ("ValueError", "bad batch")
    assert ran.error["code"] == ["train.py:15: raise ValueError('bad batch')"]
    assert ran.told[-1]["event"] == "ready"
    assert "Traceback" not in ran.output


def test_a_job_that_sets_no_steps_ends_with_2_before_it_trains(files: RunFiles, spawner: Processes) -> None:
    ran = Ran(files, JOB.replace("steps, steps_per_call = 4, 3", ""), spawner)
    assert (ran.code, [there["event"] for there in ran.told][-1]) == (2, "ready")
    assert ran.error["message"].startswith("job: Mine sets no steps, so there is nothing to train: ")


def test_an_evaluator_whose_figure_is_nan_reports_it_and_fails(files: RunFiles, spawner: Processes) -> None:
    assert Ran(files, JOB, spawner).code == 0
    nan = JOB.replace('{"v": self.v}', '{"v": self.v, "accuracy": float("nan")}')
    ran = Ran(files, nan, spawner, task="evaluator:0", role=Role.EVALUATE)
    assert (ran.code, ran.error["mendable"], ran.error["own"]) == (1, False, False)
    assert ran.error["message"].startswith("accuracy is NaN at step 4: ")
    assert ran.told[-1]["figures"] == {"v": 2.0, "accuracy": None}


def test_a_task_without_its_job_ends_with_2_and_a_sentence(files: RunFiles, spawner: Processes) -> None:
    ran = Ran(files, JOB, spawner, job="gone.py")
    assert (ran.code, ran.error["code"]) == (2, [])
    assert ran.error["message"] == f"job: there is no script {files.directory.parent}/gone.py"
