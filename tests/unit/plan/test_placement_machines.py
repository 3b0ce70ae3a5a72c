"""Placement on invented machines: no GPU to eight, one core to 128, one socket and two."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import SpecError
from launcher.host.inventory import Inventory
from launcher.plan.plan import Plan
from tests.examples import examples
from tests.unit.plan.machines import gpus, machine, placed, refused

# GPUs


def test_a_list_is_taken_as_written() -> None:
    assert gpus(placed(machine(4), worker={"tasks": 1, "gpus": [2, 3]})) == {"worker:0": (2, 3)}
    assert gpus(placed(machine(4), worker={"tasks": 2, "gpus": [3, 1]})) == {"worker:0": (3,), "worker:1": (1,)}


@pytest.mark.parametrize("asked", [1, "auto"])
def test_chief_ps_and_evaluator_see_no_gpu_in_async_mode(asked: object) -> None:
    plan = placed(machine(2), "async", chief=1, worker={"tasks": 2, "gpus": asked}, ps=1, evaluator=1)
    assert gpus(plan) == {"chief:0": (), "worker:0": (0,), "worker:1": (1,), "ps:0": (), "evaluator:0": ()}
    visible = {str(task.task): (task.environment or {})["CUDA_VISIBLE_DEVICES"] for task in plan.tasks}
    assert visible == {"chief:0": "-1", "worker:0": "0", "worker:1": "1", "ps:0": "-1", "evaluator:0": "-1"}


def test_two_tasks_share_a_gpu_with_hard_limits_under_ring() -> None:
    plan = placed(machine(1), worker={"tasks": 2, "gpus": [0], "gpu_memory": 4000})
    assert gpus(plan) == {"worker:0": (0,), "worker:1": (0,)}
    assert [task.gpu_memory for task in plan.tasks] == [4000, 4000]
    assert (plan.strategy, plan.communication) == ("MultiWorkerMirroredStrategy", "RING")
    assert plan.reason.endswith("RING over gRPC, since some share a GPU and NCCL allows one of them on each")


def test_jobs_share_a_gpu_if_both_are_limited() -> None:
    limited = {"tasks": 1, "gpus": [0], "gpu_memory": 4000}
    assert gpus(placed(machine(1), chief=limited, worker=limited)) == {"chief:0": (0,), "worker:0": (0,)}


SHARING = "tasks that share a GPU need gpu_memory, the MiB that each may use"
ONE = {"tasks": 1, "gpus": [0]}


@pytest.mark.parametrize(
    ("there", "cluster", "message"),
    [
        (
            0,
            {"worker": {"tasks": 2, "gpus": 1}},
            "cluster.worker.gpus: worker asks for 2 GPUs (2 tasks x 1); this machine has none (no NVIDIA driver)",
        ),
        (
            2,
            {"worker": {"tasks": 4, "gpus": 1}},
            "cluster.worker.gpus: worker asks for 4 GPUs (4 tasks x 1); this machine has 2 (GPU 0, 1)",
        ),
        (
            1,
            {"worker": {"tasks": 2, "gpus": [0]}},
            f"cluster.worker.gpus: lists 1 GPU for 2 tasks; {SHARING}",
        ),
        (
            1,
            {"chief": ONE, "worker": ONE | {"gpu_memory": 100}},
            f"cluster.worker.gpus: lists GPU 0, which another job already has; {SHARING}",
        ),
        (
            1,
            {"chief": ONE | {"gpu_memory": 100}, "worker": ONE},
            f"cluster.worker.gpus: lists GPU 0, which another job already has; {SHARING}",
        ),
        (
            2,
            {"worker": {"tasks": 3, "gpus": [0, 1], "gpu_memory": 100}},
            "cluster.worker.gpus: lists 2 GPUs, which 3 tasks cannot share evenly",
        ),
        (
            1,
            {"chief": {"tasks": 1, "gpus": 0}, "worker": {"tasks": 1, "gpus": [0], "gpu_memory": 90_000}},
            "cluster.worker.gpu_memory: worker:0 asks for 90000 MiB of GPU 0, which has 81559",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_both_sides(there: int, cluster: dict[str, Any], message: str) -> None:
    assert refused(machine(there), **cluster) == message


# Cores


def cores(plan: Plan) -> dict[str, tuple[int, ...]]:
    return {str(task.task): task.cores for task in plan.tasks}


def threads(plan: Plan) -> list[tuple[str, str]]:
    keys = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
    return [((task.environment or {})[keys[0]], (task.environment or {})[keys[1]]) for task in plan.tasks]


def test_cores_come_from_the_socket_of_the_gpu() -> None:
    plan = placed(machine(8, 128, 2), worker={"tasks": 8, "gpus": 1, "cpus": 8})
    assert cores(plan) == {
        f"worker:{i}": tuple(range(start, start + 8)) for i, start in enumerate([0, 8, 16, 24, 64, 72, 80, 88])
    }
    assert threads(plan) == [("8", "8")] * 8


def test_tasks_that_ask_for_no_cores_stay_on_the_socket_of_their_gpus() -> None:
    plan = placed(machine(8, 128, 2), worker={"tasks": 8, "gpus": 1})
    assert set(cores(plan).values()) == {tuple(range(64)), tuple(range(64, 128))}
    assert threads(plan) == [("16", "16")] * 8


@pytest.mark.parametrize("number", [1, 2, 4, 64, 128])
def test_threads_follow_from_the_cores(number: int) -> None:
    plan = placed(machine(0, number), worker={"tasks": 1, "cpus": number})
    assert threads(plan) == [(str(number), str(number))]
    assert (plan.tasks[0].environment or {})["TF_NUM_INTEROP_THREADS"] == str(number)
    assert cores(plan) == {"worker:0": tuple(range(number))}


def test_too_few_gpus_and_too_few_cores_are_reported_at_once() -> None:
    assert refused(machine(4, 8), worker={"tasks": 2, "cpus": 5, "gpus": 4}).splitlines() == [
        "cluster.worker.gpus: worker asks for 8 GPUs (2 tasks x 4); this machine has 4 (GPU 0, 1, 2, 3)",
        "cluster.worker.cpus: worker asks for 10 cores (2 tasks x 5); this machine has 8",
    ]


def test_a_count_of_gpus_to_share_is_refused_with_the_hint_to_list_them() -> None:
    message = refused(machine(1), worker={"tasks": 2, "gpus": 1, "gpu_memory": 100})
    assert message.endswith("; this machine has 1 (GPU 0); tasks share a GPU if it is listed: gpus: [0]")


@examples(150)
@given(
    there=st.builds(
        machine, st.sampled_from([0, 1, 2, 4, 8]), st.sampled_from([2, 4, 16, 128]), st.sampled_from([1, 2])
    ),
    tasks=st.integers(1, 8),
    cpus=st.one_of(st.none(), st.integers(1, 8)),
    wanted=st.one_of(st.just("auto"), st.integers(0, 4), st.lists(st.integers(0, 7), min_size=1, unique=True)),
    memory=st.one_of(st.none(), st.just(1000)),
    mode=st.sampled_from(["sync", "async"]),
)
def test_whatever_is_asked_is_given_once_or_refused(
    there: Inventory, tasks: int, cpus: int | None, wanted: object, memory: int | None, mode: str
) -> None:
    try:
        plan = placed(there, mode, worker={"tasks": tasks, "cpus": cpus, "gpus": wanted, "gpu_memory": memory}, ps=1)
    except SpecError:
        return
    pinned = [core for task in plan.tasks if cpus and task.task.job == "worker" for core in task.cores]
    assert len(pinned) == len(set(pinned)) == (tasks * cpus if cpus else 0)
    assert set(pinned) <= {core.id for core in there.cores}
    given_out = [gpu for task in plan.tasks for gpu in task.gpus]
    assert set(given_out) <= {gpu.id for gpu in there.gpus}
    assert memory is not None or len(given_out) == len(set(given_out))
    assert len({len(task.gpus) for task in plan.tasks if task.task.job == "worker"}) == 1
    # What a task may run on decides its threads, and its GPUs what it sees.
    for task in plan.tasks:
        environment = task.environment or {}
        assert environment["CUDA_VISIBLE_DEVICES"] == (",".join(map(str, task.gpus)) or "-1")
        assert environment["OMP_NUM_THREADS"] == environment["TF_NUM_INTRAOP_THREADS"]
        assert 1 <= int(environment["OMP_NUM_THREADS"]) <= len(task.cores or there.cores)
    shared = len(given_out) != len(set(given_out))
    assert (plan.communication == "NCCL") == (mode == "sync" and len(given_out) > 1 and not shared)
