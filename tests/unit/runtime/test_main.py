"""One task as a process of its own, and what it leaves where it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from launcher.cluster.context import ENVIRONMENT_KEY, CheckpointPolicy, TaskContext
from launcher.errors import FormationError, LauncherError, UsageError
from launcher.rundir import RunFiles
from launcher.runtime import main
from launcher.runtime.rendezvous import LeaderLost
from tests.unit.runtime.conftest import task_context

ROOT = Path(__file__).parents[3]
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


# What a failed task leaves


def user_function(path: Path, body: str) -> FunctionType:
    """Return the function ``fail`` of a module of the user's at this path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"def fail():\n    {body}\n")
    module = ModuleType(path.stem)
    exec(compile(path.read_text(), str(path), "exec"), vars(module))
    function = vars(module)["fail"]
    assert isinstance(function, FunctionType)
    return function


def record(files: RunFiles, error: BaseException, **changes: Any) -> tuple[int, Mapping[str, Any]]:
    code = main._record(context(files, **changes), error)
    value: Mapping[str, Any] = json.loads(files.error(1, "worker-0").read_text())
    return code, value


def caught(function: FunctionType) -> BaseException:
    with pytest.raises(BaseException) as raised:  # noqa: PT011  # whatever a user's code raises
        function()
    error = raised.value
    return error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)  # without the line above


def test_an_exception_is_recorded_with_the_users_line(files: RunFiles, tmp_path: Path) -> None:
    error = caught(user_function(tmp_path / "train.py", "raise ValueError('no')"))
    code, value = record(files, error)
    assert (code, value["exit_code"]) == (1, 1)
    assert (value["task"], value["type"], value["message"]) == ("worker:0", "ValueError", "no")
    assert value["code"] == ["train.py:2: raise ValueError('no')"]
    assert value["traceback"].startswith("Traceback (most recent call last):\n")
    assert value["time_ns"] > 10**18
    assert not value["consequence"]


def test_the_traceback_is_in_the_log_after_what_was_printed(files: RunFiles) -> None:
    log = files.log(1, "worker-0")
    log.write_text("printed\n")
    record(files, ValueError("no"))
    assert log.read_text() == "printed\nValueError: no\n"


def test_only_the_users_lines_are_shown_each_where_it_lies(files: RunFiles, tmp_path: Path) -> None:
    inner = user_function(tmp_path.parent / f"{tmp_path.name}-elsewhere" / "inner.py", "import json; json.loads('{')")
    outer = user_function(tmp_path / "deep" / "outer.py", "inner()")
    outer.__globals__["inner"] = inner
    library = user_function(tmp_path / "site-packages" / "library.py", "outer()")
    library.__globals__["outer"] = outer
    _, value = record(files, caught(library))
    assert value["type"] == "JSONDecodeError"
    assert value["code"] == [
        "deep/outer.py:2: inner()",
        f"{inner.__code__.co_filename}:2: import json; json.loads('{{')",
    ]


def test_the_users_lines_are_shown_although_python_lies_above_them(
    files: RunFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))  # as /usr is, for a job in /usr/src/app
    error = caught(user_function(tmp_path / "train.py", "raise ValueError('no')"))
    assert record(files, error)[1]["code"] == ["train.py:2: raise ValueError('no')"]


@pytest.mark.parametrize(
    ("error", "code"), [(LauncherError("x"), 1), (UsageError("x"), 2), (FormationError("x"), 3), (LeaderLost("x"), 1)]
)
def test_an_error_of_the_launchers_own_shows_no_code_and_has_its_exit_code(
    files: RunFiles, error: LauncherError, code: int
) -> None:
    exit_code, value = record(files, error)
    assert (exit_code, value["exit_code"], value["code"]) == (code, code, [])


@pytest.mark.parametrize(
    ("kind", "consequence"),
    [("UnavailableError", True), ("AbortedError", True), ("CancelledError", True), ("InvalidArgumentError", False)],
)
def test_what_tensorflow_raises_when_another_task_goes_is_a_consequence(
    files: RunFiles, kind: str, consequence: bool
) -> None:
    error = type(kind, (Exception,), {})("socket closed")
    assert record(files, error)[1]["consequence"] == consequence
    assert record(files, LeaderLost("gone"))[1]["consequence"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(0), MemoryError()])
def test_nothing_that_ends_a_job_early_is_success(files: RunFiles, error: BaseException) -> None:
    code, value = record(files, error)
    assert code == 1
    assert value["type"] == type(error).__name__


# A whole task


class Ran:
    """A task that has ended."""

    def __init__(self, files: RunFiles, script: str, **changes: Any) -> None:
        (files.directory.parent / "train.py").write_text(textwrap.dedent(script))
        read_end, write_end = os.pipe()
        told = context(files, report_fd=write_end, **changes)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "launcher.runtime.main"],
            env={**os.environ, "PYTHONPATH": str(ROOT), ENVIRONMENT_KEY: told.to_json(), "CUDA_VISIBLE_DEVICES": "-1"},
            pass_fds=[write_end],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        os.close(write_end)
        with open(read_end, encoding="utf-8") as reports:  # noqa: PTH123  # a descriptor
            self.told = [json.loads(line) for line in reports]
        self.output, _ = process.communicate()
        self.code = process.returncode
        path = files.error(1, "worker-0")
        self.error: Mapping[str, Any] = json.loads(path.read_text()) if path.exists() else {}


def test_a_task_trains_reports_and_ends_with_0(files: RunFiles) -> None:
    ran = Ran(files, JOB)
    assert (ran.code, ran.error) == (0, {})
    assert [there["event"] for there in ran.told] == ["started", "meeting", "ready", "progress", "progress", "result"]
    assert [there["step"] for there in ran.told if there["event"] == "progress"] == [3, 4]
    assert {key: ran.told[-1][key] for key in ("metrics", "steps")} == {"metrics": {"v": 2.0}, "steps": 4}
    assert ran.output.startswith("step 4/4  ")
    assert ran.output.endswith("  v=2\n")
    assert (files.directory / "seen.txt").read_text() == "[3, 4]"
    assert [path.name for path in files.checkpoints.iterdir()] == ["step-0000000004"]


def test_a_job_uses_keras_as_always(files: RunFiles) -> None:
    ran = Ran(files, KERAS)
    assert ran.error == {}
    assert ran.told[-1]["metrics"] == {"ones": 2.0, "same": True}


def test_a_task_whose_step_fails_ends_with_1_and_the_users_lines(files: RunFiles) -> None:
    ran = Ran(files, JOB.replace("self.v.assign_add(batch)", "raise ValueError('bad batch')"))
    assert ran.code == 1
    assert (ran.error["type"], ran.error["message"]) == ("ValueError", "bad batch")
    assert ran.error["code"] == ["train.py:15: raise ValueError('bad batch')"]
    assert ran.told[-1]["event"] == "ready"
    assert "Traceback" not in ran.output


def test_a_task_without_its_job_ends_with_2_and_a_sentence(files: RunFiles) -> None:
    ran = Ran(files, JOB, job="gone.py")
    assert (ran.code, ran.error["code"]) == (2, [])
    assert ran.error["message"] == f"job: there is no script {files.directory.parent}/gone.py"
