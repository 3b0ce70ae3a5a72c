"""Tasks that are forked from one import are what new processes would be: looked at from inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.workplace import Ran, Workplace

# Says what its process is once TensorFlow has started.
LOOKING = """
import ctypes, json, logging, multiprocessing, os, random, signal, sys, tempfile, threading
import numpy as np
import tensorflow as tf
from jobs.hello import Hello

class Looking(Hello):
    def evaluate(self):
        death = ctypes.c_int()
        ctypes.CDLL(None).prctl(2, ctypes.byref(death))  # PR_GET_PDEATHSIG
        files = [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)]
        print("SEEN " + json.dumps({
            "session": os.getpid() == os.getsid(0) == os.getpgid(0),
            "dies with its parent": death.value == signal.SIGKILL,
            "signals": [str(signal.getsignal(number)).partition(" at ")[0] for number in (1, 2, 13, 17)],
            "cores": sorted(os.sched_getaffinity(0)),
            "environment": {name: value for name, value in os.environ.items() if name not in PER_RUN},
            "threads": os.environ["TF_NUM_INTRAOP_THREADS"],
            "input": [files[0], sys.stdin.read()],
            "output": [files[1] == files[2], sys.stdout.write_through, sys.stdout.encoding, sys.stdout.errors],
            "main": [sys.modules[name].__spec__.name for name in ("__main__", "__mp_main__")],
            "remembered": {
                "directory": multiprocessing.process.ORIGINAL_DIR == os.getcwd(),
                "directory for files": tempfile.gettempdir() == os.environ["TMPDIR"],
                "thread": threading.main_thread().native_id == os.getpid(),
            },
            "path": [entry for entry in sys.path if entry != os.getcwd()],
            "title": open("/proc/self/cmdline").read().partition(" of ")[0],
            "own": [random.random(), float(np.random.rand()), float(tf.random.uniform([])),
                    logging._startTime, multiprocessing.current_process().authkey.hex()],
            "forked": "launcher.runtime.forkserver" in sys.orig_argv,
        }), flush=True)
        return super().evaluate()

PER_RUN = {"LAUNCHER_TASK", "TF_CONFIG", "TMPDIR", "PYTEST_CURRENT_TEST"}
"""
WITH_KERAS = """
import sys
FOUND = "keras" in sys.modules
import keras
from jobs.hello import Hello

class WithKeras(Hello):
    def evaluate(self):
        keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
        print("FOUND", FOUND, keras.config.max_epochs(), flush=True)
        return super().evaluate()
"""
CLUSTER: dict[str, Any] = {
    "chief": {"env": {"TF_CPP_MIN_LOG_LEVEL": "3"}},  # which TensorFlow reads at its import
    "worker": {"tasks": 2, "env": {"OWN": "é"}},
}
UNLIKE = {"forked", "own"}
Looks = Mapping[str, Mapping[str, Any]]


def look(place: Workplace, start_method: str) -> tuple[Ran, Looks]:
    """Run tasks that look at themselves, and return what each saw."""
    (place.directory / "looking.py").write_text(LOOKING)
    ran = place.run(job="looking.py", args={}, cluster=CLUSTER, run={"start_method": start_method})
    said = {task: [line for line in ran.said_by(task) if line.startswith("SEEN ")] for task in ran.placed}
    return ran, {task: json.loads(lines[0].removeprefix("SEEN ")) for task, lines in said.items()}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Looks]:
    return {method: look(Workplace(tmp_path_factory.mktemp(method)), method)[1] for method in ("fork", "spawn")}


def test_a_forked_task_sees_what_a_spawned_one_sees(both: Mapping[str, Looks]) -> None:
    for task, spawned in both["spawn"].items():
        forked = both["fork"][task]
        assert {name: forked[name] for name in forked.keys() - UNLIKE} == {
            name: spawned[name] for name in spawned.keys() - UNLIKE
        }
    assert both["fork"]["worker:1"]["title"] == "launcher worker:1"


def test_tasks_are_forked_but_for_the_one_whose_variables_an_import_reads(both: Mapping[str, Looks]) -> None:
    forked = {task: saw["forked"] for task, saw in both["fork"].items()}
    assert forked == {"chief:0": False, "worker:0": True, "worker:1": True}
    assert not any(saw["forked"] for saw in both["spawn"].values())
    assert both["fork"]["chief:0"]["environment"]["TF_CPP_MIN_LOG_LEVEL"] == "3"


def test_what_an_import_takes_from_chance_and_from_the_clock_is_each_forked_task_s_own(
    both: Mapping[str, Looks],
) -> None:
    own = [value for saw in both["fork"].values() for value in saw["own"]]
    assert len(set(own)) == 15


def test_a_job_that_uses_keras_finds_it_imported_as_its_variables_say(workplace: Workplace) -> None:
    (workplace.directory / "with_keras.py").write_text(WITH_KERAS)
    worker = {"tasks": 1, "env": {"KERAS_MAX_EPOCHS": "7"}}
    ran = workplace.run(job="with_keras.py", args={}, cluster={"worker": worker}, run={"start_method": "fork"})
    assert "FOUND True 7" in ran.said_by("worker:0"), ran.output
