"""What was placed is what happens: every task of a real cluster says what it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.contract.environment import TASK_KEY
from launcher.contract.roles import Role
from launcher.host.inventory import take
from launcher.plan.cores import usable_cores
from launcher.rundir import RunFiles
from tests.support.workplace import ROOT, Ran, Workplace
from tests.unit.runtime.conftest import task_context

CORES = [core.id for core in usable_cores(take())]
ALL = sorted(psutil.Process().cpu_affinity())  # if a control group has a quota, more
SHORT: dict[str, Any] = {"args": {"epochs": 5}}
# Steals a core before the task looks: Python runs this file before anything else.
STEALING = """
import os
if '"task": "worker:1"' in os.environ.get("LAUNCHER_TASK", ""):
    os.sched_setaffinity = lambda pid, cores: None
"""


def assert_placed(ran: Ran, others: set[str]) -> None:
    """Assert that each worker has a core of its own, and these tasks have the rest."""
    assert ran.code == 0, ran.output
    seen = ran.placed
    assert set(seen) == {"worker:0", "worker:1", *others}
    assert [seen[f"worker:{index}"] for index in (0, 1)] == [{"cores": [core], "gpus": {}} for core in CORES[:2]]
    assert all(seen[task] == {"cores": CORES[2:] or ALL, "gpus": {}} for task in others)


def test_each_task_says_that_it_has_the_cores_of_the_plan_and_no_gpu(sync: Ran, asynchronous: Ran) -> None:
    assert_placed(sync, {"evaluator:0"})
    assert_placed(asynchronous, {"chief:0", "ps:0", "evaluator:0"})


def test_tasks_without_cores_of_their_own_say_that_they_may_run_on_all_and_the_plan_names_none(chief: Ran) -> None:
    assert chief.code == 0, chief.output
    assert chief.placed == {task: {"cores": ALL, "gpus": {}} for task in ("chief:0", "worker:0")}
    plan = json.loads((chief.files / "plan.json").read_text())
    assert [task["cores"] for task in plan["tasks"]] == [[], []]
    assert {key: plan[key] for key in ("strategy", "communication", "reason")} == {
        key: chief.result[key] for key in ("strategy", "communication", "reason")
    }


@pytest.mark.skipif(len(CORES) < 2, reason="a core that another task has takes two")
def test_a_task_that_has_other_cores_than_planned_ends_the_run_and_is_not_started_again(
    workplace: Workplace,
) -> None:
    (workplace.directory / "sitecustomize.py").write_text(STEALING)
    env = {"PYTHONPATH": f"{workplace.directory}:{ROOT}"}
    workers = {"tasks": 2, "cpus": 1, "gpus": 0, "env": env}
    ran = workplace.run(cluster={"worker": workers}, run={"start_method": "spawn"}, **SHORT)
    assert ran.code == 1, ran.output
    has = ", ".join(map(str, ALL))
    assert f"worker:1 failed: the plan gives worker:1 the cores {CORES[1]}; it has {has}" in ran.output
    assert ran.result["attempts"] == 1


@pytest.mark.parametrize(
    ("run", "communication", "reason"),
    [
        ("alone", "none", "one task trains on one device"),
        ("sync", "RING", "2 tasks take each step together; RING over gRPC, since they compute on CPUs"),
        ("asynchronous", "gRPC", "2 workers updating variables on 1 ps over gRPC, without waiting for each other"),
    ],
)
def test_the_result_says_how_the_tasks_communicated_and_why(
    request: pytest.FixtureRequest, run: str, communication: str, reason: str
) -> None:
    ran = request.getfixturevalue(run)
    assert ran.code == 0, ran.output
    assert (ran.result["communication"], ran.result["reason"]) == (communication, reason)


# Imports TensorFlow once and becomes each of the tasks that its arguments describe.
EACH = f"""
import os, runpy, sys
sys.modules["keras"] = None
import tensorflow
for told in sys.argv[1:]:
    if not os.fork():
        os.environ["{TASK_KEY}"] = told
        runpy.run_module("launcher.runtime.main", run_name="__main__")
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_whatever_a_task_does_it_ends_if_a_gpu_of_the_plan_is_not_there(tmp_path: Path) -> None:
    roles = {
        "worker:0": Role.TRAIN,
        "worker:1": Role.COMPUTE,
        "chief:0": Role.COORDINATE,
        "ps:0": Role.SERVE,
        "evaluator:0": Role.EVALUATE,
    }
    files = RunFiles(tmp_path)
    files.prepare_attempt(1)
    told = [task_context(task, tmp_path, role=role, gpus=(3,)).to_json() for task, role in roles.items()]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-P", "-c", EACH, *told], env=hidden, capture_output=True, check=True)
    assert done.stdout.split() == [b"1"] * len(roles)
    for task in roles:
        error = json.loads(files.error(1, task.replace(":", "-")).read_text())
        assert error["message"] == (
            f"the plan gives {task} GPU 3, and TensorFlow sees none; its log says why "
            "(CUDA comes with pip install 'tensorflow[and-cuda]')"
        )
        # Starting again does not mend it, and it is nobody else's fault.
        assert (error["mendable"], error["consequence"], error["code"]) == (False, False, [])
