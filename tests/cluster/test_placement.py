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
from tests.cluster.conftest import ROOT, Ran, Workplace
from tests.unit.runtime.conftest import task_context

CORES = [core.id for core in usable_cores(take())]
ALL = sorted(psutil.Process().cpu_affinity())  # where a control group has a quota, more
SHORT: dict[str, Any] = {"args": {"epochs": 5}}
# Steals a core before the task looks: Python runs this file before anything else.
STEALING = """
import os
if '"task": "worker:1"' in os.environ.get("LAUNCHER_TASK", ""):
    os.sched_setaffinity = lambda pid, cores: None
"""


def placed(ran: Ran) -> dict[str, Any]:
    """What each task has proved to have, by its name."""
    records = [json.loads(line) for line in (ran.files / "events.jsonl").read_text().splitlines()]
    return {record["task"]: record["details"] for record in records if record["state"] == "placed"}


@pytest.mark.skipif(len(CORES) < 2, reason="two tasks need a core each")
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_each_task_says_that_it_has_the_cores_of_the_plan_and_no_gpu(workplace: Workplace, mode: str) -> None:
    cluster = {"worker": {"tasks": 2, "cpus": 1, "gpus": 0}, "ps": 1, "evaluator": 1}
    ran = workplace.run(mode=mode, cluster=cluster, **SHORT)
    assert ran.code == 0, ran.output
    seen = placed(ran)
    others = {"sync": {"evaluator:0"}, "async": {"chief:0", "ps:0", "evaluator:0"}}[mode]
    assert set(seen) == {"worker:0", "worker:1", *others}
    assert [seen[f"worker:{index}"] for index in (0, 1)] == [{"cores": [core], "gpus": {}} for core in CORES[:2]]
    assert all(seen[task] == {"cores": CORES[2:] or ALL, "gpus": {}} for task in others)


def test_tasks_without_cores_of_their_own_say_that_they_may_run_on_all_and_the_plan_names_none(
    workplace: Workplace,
) -> None:
    ran = workplace.run(cluster={"chief": {"gpus": 0}, "worker": {"gpus": 0}, "ps": 1}, **SHORT)
    assert ran.code == 0, ran.output
    assert placed(ran) == {task: {"cores": ALL, "gpus": {}} for task in ("chief:0", "worker:0")}
    plan = json.loads((ran.files / "plan.json").read_text())
    assert [task["cores"] for task in plan["tasks"]] == [[], []]
    assert {key: plan[key] for key in ("strategy", "communication", "reason")} == {
        key: ran.result[key] for key in ("strategy", "communication", "reason")
    }


@pytest.mark.skipif(len(CORES) < 2, reason="a core that another task has takes two")
def test_a_task_that_has_other_cores_than_planned_ends_the_run_and_is_not_started_again(
    workplace: Workplace,
) -> None:
    (workplace.directory / "sitecustomize.py").write_text(STEALING)
    env = {"PYTHONPATH": f"{workplace.directory}:{ROOT}"}
    ran = workplace.run(cluster={"worker": {"tasks": 2, "cpus": 1, "gpus": 0, "env": env}}, **SHORT)
    assert ran.code == 1, ran.output
    has = ", ".join(map(str, ALL))
    assert f"worker:1 failed: the plan gives worker:1 the cores {CORES[1]}; it has {has}" in ran.output
    assert ran.result["attempts"] == 1


@pytest.mark.parametrize(
    ("content", "communication", "reason"),
    [
        ({"cluster": {"worker": {"tasks": 1, "gpus": 0}}}, "none", "one task trains on one device"),
        (
            {"cluster": {"worker": {"tasks": 2, "gpus": 0}}},
            "RING",
            "2 tasks take each step together; RING over gRPC, since they compute on CPUs",
        ),
        (
            {"mode": "async", "cluster": {"worker": {"tasks": 1, "gpus": 0}, "ps": 1}},
            "gRPC",
            "1 worker updating variables on 1 ps over gRPC, without waiting for each other",
        ),
    ],
)
def test_the_result_says_how_the_tasks_communicated_and_why(
    workplace: Workplace, content: dict[str, Any], communication: str, reason: str
) -> None:
    ran = workplace.run(**content, **SHORT)
    assert ran.code == 0, ran.output
    assert (ran.result["communication"], ran.result["reason"]) == (communication, reason)


@pytest.mark.parametrize(
    ("task", "role"),
    [("worker:0", Role.TRAIN), ("chief:0", Role.COORDINATE), ("ps:0", Role.SERVE), ("evaluator:0", Role.EVALUATE)],
)
def test_whatever_a_task_does_it_ends_where_a_gpu_of_the_plan_is_not_there(
    tmp_path: Path, task: str, role: Role
) -> None:
    files = RunFiles(tmp_path)
    files.prepare_attempt(1)
    told = task_context(task, tmp_path, role=role, gpus=(3,))
    hidden = {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT), TASK_KEY: told.to_json()}
    command = [sys.executable, "-P", "-m", "launcher.runtime.main"]
    done = subprocess.run(command, env={**os.environ, **hidden}, capture_output=True, timeout=60, check=False)
    error = json.loads(files.error(1, told.task.slug).read_text())
    assert error["message"] == (
        f"the plan gives {task} GPU 3, and TensorFlow sees none; its log says why "
        "(CUDA comes with pip install 'tensorflow[and-cuda]')"
    )
    # Starting again does not mend it, and it is nobody else's fault.
    assert (done.returncode, error["mendable"], error["consequence"], error["code"]) == (1, False, False, [])
