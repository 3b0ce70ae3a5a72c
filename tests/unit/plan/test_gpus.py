"""GPUs of one invented host: which task gets which, which tasks may share, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.errors import SpecError
from launcher.host.inventory import Core, Gpu, Inventory
from launcher.plan.gpus import SHARING, assign_gpus, shared_gpus
from launcher.plan.requests import TaskRequest
from launcher.spec.model import JobSpec
from tests.examples import examples

Jobs = Mapping[str, tuple[int, Mapping[str, Any]]]


def host(*ids: int, total: int = 16_000, note: str = "") -> Inventory:
    return Inventory("h", (Core(0),), tuple(Gpu(i, f"GPU-{i}", "T4", total, total) for i in ids), note)


def requests(jobs: Jobs) -> list[TaskRequest]:
    return [
        TaskRequest(Task(name, index), JobSpec.model_validate({"tasks": tasks, **asked}), Role.TRAIN)
        for name, (tasks, asked) in jobs.items()
        for index in range(tasks)
    ]


def assigned(there: Inventory, jobs: Jobs) -> dict[str, tuple[int, ...]]:
    return {str(task): gpus for task, gpus in assign_gpus(requests(jobs), there).items()}


def refused(there: Inventory, jobs: Jobs) -> str:
    with pytest.raises(SpecError) as caught:
        assign_gpus(requests(jobs), there)
    return str(caught.value)


def limited(gpus: Any, memory: int = 4000) -> dict[str, Any]:
    return {"gpus": gpus, "gpu_memory": memory}


def test_lists_come_first_then_counts_then_auto_whatever_the_order_of_the_jobs() -> None:
    found = assigned(
        host(0, 1, 2, 3, 4, 5), {"chief": (1, {}), "worker": (2, {"gpus": 1}), "extra": (2, {"gpus": [4, 0]})}
    )
    assert found == {"extra:0": (4,), "extra:1": (0,), "worker:0": (1,), "worker:1": (2,), "chief:0": (3, 5)}


def test_auto_of_several_jobs_is_one_division() -> None:
    assert assigned(host(0, 1, 2, 3, 4, 5, 6, 7), {"chief": (1, {}), "worker": (3, {})}) == {
        "chief:0": (0, 1), "worker:0": (2, 3), "worker:1": (4, 5), "worker:2": (6, 7),
    }  # fmt: skip


@pytest.mark.parametrize(("gpus", "each"), [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (8, 2)])
def test_auto_leaves_over_what_cannot_be_divided_evenly(gpus: int, each: int) -> None:
    found = assigned(host(*range(gpus)), {"worker": (3, {})})
    assert [len(own) for own in found.values()] == [each] * 3


def test_gpus_are_assigned_in_the_inventory_s_order_which_is_cuda_visible_devices() -> None:
    assert assigned(host(5, 2, 7), {"worker": (3, {"gpus": 1})}) == {
        "worker:0": (5,),
        "worker:1": (2,),
        "worker:2": (7,),
    }


@pytest.mark.parametrize("asked", [0, []])
def test_a_task_that_asks_for_no_gpu_gets_none(asked: object) -> None:
    assert assigned(host(0, 1), {"worker": (2, {"gpus": asked})}) == {"worker:0": (), "worker:1": ()}


def test_more_tasks_than_listed_gpus_sit_side_by_side_on_each() -> None:
    jobs: Jobs = {"worker": (6, limited([3, 1]))}
    assert assigned(host(0, 1, 2, 3), jobs) == {f"worker:{i}": (3,) if i < 3 else (1,) for i in range(6)}
    assert shared_gpus(assign_gpus(requests(jobs), host(0, 1, 2, 3))) == {1, 3}


def test_a_limit_alone_makes_no_one_share() -> None:
    jobs: Jobs = {"chief": (1, limited([1])), "worker": (1, limited([0]))}
    assert shared_gpus(assign_gpus(requests(jobs), host(0, 1))) == set()


def test_counts_and_auto_never_take_a_gpu_that_is_listed_although_its_tasks_are_limited() -> None:
    jobs: Jobs = {"chief": (1, limited([0])), "worker": (1, limited(1)), "extra": (1, limited("auto"))}
    assert assigned(host(0, 1, 2), jobs) == {"chief:0": (0,), "worker:0": (1,), "extra:0": (2,)}


TAKEN = f"lists GPU 0, which another job already has; {SHARING}"


@pytest.mark.parametrize(
    ("there", "jobs", "message"),
    [
        (host(), {"worker": (1, {"gpus": 1})}, "worker.gpus: worker asks for 1 GPU; this machine has none"),
        (
            host(note="no NVIDIA driver"),
            {"worker": (1, {"gpus": [0]})},
            "worker.gpus: lists GPU 0, but this machine has none (no NVIDIA driver)",
        ),
        (
            host(0, 3),
            {"worker": (1, {"gpus": [0, 1]})},
            "worker.gpus: lists GPU 1, but this machine has 2 (GPU 0, 3)",
        ),
        (
            host(0, 1, 2),
            {"chief": (1, {"gpus": 1}), "worker": (3, {"gpus": 1})},
            (
                "worker.gpus: worker asks for 3 GPUs (3 tasks x 1); this machine has 3 (GPU 0, 1, 2), 2 of them left "
                "by other jobs"
            ),
        ),
        (
            host(0, 1),
            {"chief": (1, {"gpus": [0, 1]}), "worker": (1, {"gpus": 2})},
            "worker.gpus: worker asks for 2 GPUs; this machine has 2 (GPU 0, 1), 0 of them left by other jobs",
        ),
        (host(0), {"chief": (1, {"gpus": [0]}), "worker": (1, {"gpus": [0]})}, f"worker.gpus: {TAKEN}"),
        (host(0), {"chief": (1, limited([0])), "worker": (1, {"gpus": [0]})}, f"worker.gpus: {TAKEN}"),
        (host(0), {"chief": (1, {"gpus": [0]}), "worker": (1, limited([0]))}, f"worker.gpus: {TAKEN}"),
        (
            host(0, 1),
            {"worker": (4, {"gpus": [0, 1]})},
            f"worker.gpus: lists 2 GPUs for 4 tasks; {SHARING}",
        ),
        (
            host(0, 1, 2),
            {"worker": (2, limited([0, 1, 2]))},
            "worker.gpus: lists 3 GPUs, which 2 tasks cannot share evenly",
        ),
        (
            host(0),
            {"chief": (1, limited([0], 9000)), "worker": (1, limited([0], 7001))},
            "worker.gpu_memory: chief:0 and worker:0 ask for 16001 MiB of GPU 0, which has 16000; at most 8000 each",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_both_sides(there: Inventory, jobs: Jobs, message: str) -> None:
    assert refused(there, jobs) == f"cluster.{message}"


def test_each_virtual_device_takes_its_memory() -> None:
    assert assigned(host(0), {"worker": (1, limited(1, 8000) | {"virtual_devices": 2})}) == {"worker:0": (0,)}
    message = refused(host(0), {"worker": (1, limited(1, 8000) | {"virtual_devices": 3})})
    assert message.endswith(" 24000 MiB of GPU 0, which has 16000; at most 5333 each")


@pytest.mark.parametrize("total", [16_000, 0], ids=["exactly what there is", "a machine that is only trusted"])
def test_memory_that_is_enough_or_unknown_is_given(total: int) -> None:
    memory = 8000 if total else 10**6
    assert len(assigned(host(0, total=total), {"worker": (2, limited([0], memory))})) == 2


wanted = st.one_of(st.just("auto"), st.integers(0, 3), st.lists(st.integers(0, 8), min_size=1, max_size=4, unique=True))
job = st.tuples(
    st.integers(1, 4), st.fixed_dictionaries({"gpus": wanted, "gpu_memory": st.sampled_from([None, 1000, 7000])})
)


@examples(400)
@given(st.sampled_from([0, 1, 2, 4, 8]), job, job)
def test_tasks_that_share_a_gpu_are_limited_and_no_gpu_is_invented(
    gpus: int, chief: tuple[int, dict[str, Any]], worker: tuple[int, dict[str, Any]]
) -> None:
    there, tasks = host(*range(gpus)), requests({"chief": chief, "worker": worker})
    try:
        found = assign_gpus(tasks, there)
    except SpecError as error:
        assert len(error.problems) == 1  # noqa: PT017  # or there was none
        return
    assert set(found) == {request.task for request in tasks}
    for gpu in there.gpus:
        on_it = [request for request in tasks if gpu.id in found[request.task]]
        assert len(on_it) < 2 or all(request.job.gpu_memory for request in on_it)
        assert sum(request.job.gpu_memory or 0 for request in on_it) <= gpu.total
    for request in tasks:
        own = found[request.task]
        assert len(own) == len(set(own))
        assert set(own) <= set(range(gpus))
        if isinstance(request.job.gpus, int):
            assert len(own) == request.job.gpus
        elif isinstance(request.job.gpus, tuple):
            assert set(own) <= set(request.job.gpus)
    for _, asked in (chief, worker):
        if isinstance(asked["gpus"], list):  # all of what is listed is of use
            assert set(asked["gpus"]) <= {gpu for own in found.values() for gpu in own}
