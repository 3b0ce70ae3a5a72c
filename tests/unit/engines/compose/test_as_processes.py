"""Containers compute as processes of this machine do, and their launchers read what was placed."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from launcher.engines.compose.containers import inside
from launcher.errors import SpecError
from launcher.host.inventory import Inventory
from launcher.plan.plan import Plan
from tests.examples import examples
from tests.unit.engines.compose.made import in_containers, machine_with, outside, read, render, write

CLUSTERS: dict[str, dict[str, Any]] = {
    "sync": {"worker": 2, "ps": 1},
    "sync, no ps": {"worker": 3},
    "sync with a chief": {"chief": 1, "worker": 2},
    "a chief alone": {"chief": 1},
    "one worker alone": {"worker": 1, "ps": 2},
    "one worker and an evaluator": {"worker": 1, "evaluator": 1},
    "sync with an evaluator": {"worker": 2, "evaluator": 1},
    "pinned": {"worker": {"tasks": 2, "cpus": 2}},
    "all cores pinned, evaluator beside": {"worker": {"tasks": 2, "cpus": 4}, "evaluator": 1},
    "one job pinned": {"chief": {"cpus": 3}, "worker": 2},
    "idle ps pinned": {"worker": {"tasks": 2, "cpus": 1}, "ps": {"tasks": 2, "cpus": 8}},
    "port": {"worker": {"tasks": 3, "port": 3000}},
    "ports": {"chief": {"port": 4000}, "worker": {"tasks": 2, "port": 3000}},
    "loopback addresses": {"worker": ["localhost:4000", "127.0.0.1:4001", "[::1]:4002"]},
    "loopback and port": {"worker": {"addresses": ["localhost", "localhost"], "port": 7000}},
    "threads of its own": {"worker": {"tasks": 2, "env": {"OMP_NUM_THREADS": 9, "MINE": "a: b"}}},
    "threads that are no number": {"worker": {"tasks": 2, "env": {"OMP_NUM_THREADS": ""}}},
    "threads in YAML's own words": {"worker": {"env": {"OMP_NUM_THREADS": "true", "TF_NUM_INTRAOP_THREADS": "[1"}}},
    "async": {"mode": "async", "worker": 2, "ps": 1},
    "async with a chief of none": {"mode": "async", "chief": 0, "worker": 2, "ps": 1},
    "async with a chief": {"mode": "async", "chief": 1, "worker": 2, "ps": 2},
    "async with an evaluator": {"mode": "async", "worker": 3, "ps": 1, "evaluator": 1},
    "async, workers pinned": {"mode": "async", "worker": {"tasks": 2, "cpus": 2}, "ps": 1},
    "async, ps pinned": {"mode": "async", "worker": 2, "ps": {"tasks": 2, "cpus": 1}},
    "async with ports": {"mode": "async", "worker": {"tasks": 2, "port": 3000}, "ps": {"tasks": 2, "port": 3100}},
    "async at loopback addresses": {"mode": "async", "worker": ["localhost:1"], "ps": ["localhost:2", "127.0.0.1:3"]},
}
# How many GPUs there are, and what two workers ask for.
GPUS = [
    (0, 0), (0, "auto"), (1, 0), (1, "auto"), (2, 1), (2, "auto"), (3, "auto"), (4, 2), (4, "auto"), (7, 3),
    (8, 1), (8, "auto"), (4, [3, 1]), (8, [7, 0, 2, 5]),
]  # fmt: skip


def reads_its_part(path: Path, machine: Inventory) -> None:
    """Every container's launcher reads the plan, with the GPUs that its container has."""
    plan = in_containers(path, machine)
    seen = Plan.from_dict(json.loads(json.dumps(inside(plan).to_dict())))
    assert (seen.cluster, seen.rendezvous, seen.leader) == (plan.cluster, plan.rendezvous, plan.leader)
    assert (seen.strategy, seen.world_size, seen.quorum) == (plan.strategy, plan.world_size, plan.quorum)
    for mine, task in zip(seen.tasks, plan.tasks, strict=True):
        assert replace(mine, gpus=task.gpus) == task
        assert mine.gpus == tuple(range(len(task.gpus)))
        if not any(job.env for _, job in plan.spec.cluster.items()):  # what a user sets, a user sets
            visible = (mine.environment or {})["CUDA_VISIBLE_DEVICES"]
            assert visible == (",".join(map(str, mine.gpus)) or "-1")


def same_as_processes(path: Path, machine: Inventory) -> None:
    """Containers compute as processes do: the same roles, devices and threads, only the names differ."""
    plan, processes = in_containers(path, machine), outside(path, machine)
    assert (plan.strategy, plan.communication) == (processes.strategy, processes.communication)
    assert (plan.reason, plan.world_size, plan.leader) == (processes.reason, processes.world_size, processes.leader)
    assert plan.idle == processes.idle
    assert {job: len(there) for job, there in plan.cluster.items()} == {
        job: len(there) for job, there in processes.cluster.items()
    }
    names = {"no_grpc_proxy", "CUDA_VISIBLE_DEVICES"}  # which GPUs a task may see, the engine decides for a container
    for task, process in zip(plan.tasks, processes.tasks, strict=True):
        assert (task.task, task.role, task.cores, task.gpus) == (
            process.task,
            process.role,
            process.cores,
            process.gpus,
        )
        mine, its = dict(task.environment or {}), dict(process.environment or {})
        assert {key: mine[key] for key in mine.keys() - names} == {key: its[key] for key in its.keys() - names}


@pytest.mark.parametrize("cluster", CLUSTERS.values(), ids=CLUSTERS)
def test_every_container_has_its_part_of_the_same_plan(tmp_path: Path, cluster: dict[str, Any]) -> None:
    path, machine = write(tmp_path, **cluster), machine_with(range(8))
    reads_its_part(path, machine)
    same_as_processes(path, machine)


@pytest.mark.parametrize(("there", "asked"), GPUS)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_every_container_counts_its_own_gpus(tmp_path: Path, mode: str, there: int, asked: object) -> None:
    path = write(tmp_path, mode=mode, worker={"tasks": 2, "gpus": asked}, ps=1)
    reads_its_part(path, machine_with(range(4), there))
    same_as_processes(path, machine_with(range(4), there))


def test_the_cores_of_a_machine_need_not_begin_at_zero(tmp_path: Path) -> None:
    path = write(tmp_path, worker={"tasks": 2, "cpus": 2}, evaluator=1)
    services = read(render(path, machine_with((5, 9, 10, 11, 20))))["services"]
    assert [service["cpuset"] for service in services.values()] == ["5,9", "10,11", "20"]


@st.composite
def job_specs(draw: st.DrawFn, most: int) -> dict[str, Any]:
    """Draw what a file may say of one job."""
    job: dict[str, Any] = {"tasks": draw(st.integers(1, most))}
    if draw(st.booleans()):
        job["cpus"] = draw(st.integers(1, 3))
    if draw(st.booleans()):
        job["port"] = draw(st.sampled_from([2222, 3000, 50_000]))
    if draw(st.booleans()):
        keys = st.sampled_from(["OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "MINE"])
        job["env"] = draw(
            st.dictionaries(
                keys, st.integers(0, 64) | st.sampled_from(["auto", "4,2", "", "null", "a: b", "$x"]), max_size=2
            )
        )
    return job


@st.composite
def clusters(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the jobs of a file; those that train ask for GPUs."""
    gpus = draw(st.sampled_from([0, 1, 2, "auto"]))
    found: dict[str, Any] = {"worker": draw(job_specs(4)) | {"gpus": gpus}}
    if draw(st.booleans()):
        found["chief"] = draw(st.just(0) | job_specs(1).map(lambda job: job | {"gpus": gpus}))
    if draw(st.booleans()):
        found["ps"] = draw(job_specs(3) | st.integers(0, 3))
    if draw(st.booleans()):
        found["evaluator"] = draw(job_specs(1))
    return found


@examples(100)
@given(
    mode=st.sampled_from(["sync", "async"]),
    cluster=clusters(),
    cores=st.lists(st.integers(0, 63), min_size=1, max_size=12, unique=True),
    gpus=st.integers(0, 8),
)
def test_any_cluster_that_can_be_placed_is_the_same_in_its_containers(
    mode: str, cluster: dict[str, Any], cores: list[int], gpus: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path, machine = write(Path(directory), mode=mode, **cluster), machine_with(sorted(cores), gpus)
        try:
            outside(path, machine)
        except SpecError:
            assume(False)  # more than this machine has
        reads_its_part(path, machine)
        same_as_processes(path, machine)
