"""Several machines: this one gives what it has, the others are assumed to have what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from launcher.contract.roles import Role
from launcher.contract.task import Task
from launcher.errors import SpecError
from launcher.host.inventory import Core, Gpu, Inventory
from launcher.plan.devices import assign_devices, assumed_inventory
from launcher.plan.placement import place
from launcher.plan.plan import Plan
from launcher.plan.requests import TaskRequest
from launcher.spec.model import ClusterSpec, JobSpec


def host(cores: int = 2, gpus: int = 0) -> Inventory:
    return Inventory(
        "h",
        tuple(Core(number + 10) for number in range(cores)),  # no machine that is made up counts from 10
        tuple(Gpu(number, f"GPU-{number}", "T4", 16_000, 16_000) for number in range(gpus)),
        "" if gpus else "no NVIDIA driver",
        tuple(range(5000, 5020)),
    )


def spec(mode: str = "sync", **cluster: Any) -> ClusterSpec:
    return ClusterSpec.model_validate({"job": "hello", "mode": mode, "cluster": cluster})


def refusal(asked: ClusterSpec, inventory: Inventory, here: Task | str | None) -> str:
    with pytest.raises(SpecError) as caught:
        place(asked, inventory, here=here)
    return str(caught.value)


def shares(plan: Plan) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    return {str(task.task): (task.cores, task.gpus) for task in plan.tasks}


TWO: Mapping[str, Any] = {"addresses": ["a:1", "b:1"]}
ON_B = [Task("worker", 1), "b", "B"]


# place


@pytest.mark.parametrize("here", ON_B)
def test_this_machine_gives_its_own_cores_and_the_other_has_enough(here: Task | str) -> None:
    plan = place(spec(worker={**TWO, "cpus": 2}), host(cores=2), here=here)
    assert shares(plan) == {"worker:0": ((0, 1), ()), "worker:1": ((10, 11), ())}


@pytest.mark.parametrize("here", ON_B)
def test_this_machine_gives_its_own_gpus_and_the_other_has_enough(here: Task | str) -> None:
    asked = spec(chief={"addresses": ["a:1"], "gpus": [5]}, worker={"addresses": ["b:1"], "gpus": 1})
    plan = place(asked, host(gpus=1), here=here if isinstance(here, str) else Task("worker", 0))
    assert shares(plan) == {"chief:0": ((), (5,)), "worker:0": ((), (0,))}
    assert plan.communication == "NCCL"


@pytest.mark.parametrize("here", [Task("chief", 0), "a"])
def test_this_machine_is_refused_what_it_has_not(here: Task | str) -> None:
    asked = spec(chief={"addresses": ["a:1"], "gpus": [5]}, worker={"addresses": ["b:1"], "gpus": 1})
    assert refusal(asked, host(gpus=1), here) == (
        "cluster.chief.gpus: lists GPU 5, but this machine has 1 (GPU 0)"
    )  # fmt: skip
    more = spec(worker={**TWO, "cpus": 3})
    assert refusal(more, host(cores=2), "a") == "cluster.worker.cpus: worker asks for 3 cores; this machine has 2"


def test_if_it_is_not_said_which_machine_this_is_all_are_like_it() -> None:
    assert refusal(spec(worker={**TWO, "cpus": 3}), host(cores=2), None).endswith("this machine has 2")
    assert shares(place(spec(worker={**TWO, "cpus": 2}), host(cores=2)))["worker:0"] == ((10, 11), ())


def test_a_name_that_no_task_has_leaves_every_machine_trusted() -> None:
    plan = place(spec(worker={**TWO, "cpus": 64}), host(cores=2), here="c")
    assert [task.cores for task in plan.tasks] == [tuple(range(64))] * 2


@pytest.mark.parametrize("here", ["localhost", "127.0.0.1", "[::1]", Task("worker", 1), Task("worker", 0)])
def test_this_machine_has_many_names(here: Task | str) -> None:
    asked = spec(worker={"addresses": ["localhost:1", "127.0.0.1:2"], "cpus": 2})
    assert refusal(asked, host(cores=2), here).endswith("worker asks for 4 cores (2 tasks x 2); this machine has 2")


def test_tasks_without_addresses_run_on_this_machine() -> None:
    asked = spec(worker={"tasks": 2, "cpus": 2})
    assert "this machine has 2" in refusal(asked, host(cores=2), Task("worker", 1))
    assert "this machine has 2" in refusal(asked, host(cores=2), "localhost")


def test_an_added_chief_runs_where_the_first_worker_does() -> None:
    asked = spec("async", worker={**TWO, "cpus": 2}, ps={"addresses": ["b:2"]})
    plan = place(asked, host(cores=3), here="a")
    assert shares(plan) == {
        "chief:0": ((12,), ()), "worker:0": ((10, 11), ()), "worker:1": ((0, 1), ()), "ps:0": ((2,), ()),
    }  # fmt: skip


def test_every_machine_comes_to_the_same_addresses_strategy_and_rendezvous() -> None:
    asked = spec("async", worker=TWO, ps={"addresses": ["b:2", "c:1"]}, evaluator={"addresses": ["c:2"]})
    seen = [place(asked, host(cores), here=here) for cores, here in ((1, "a"), (4, "b"), (64, Task("evaluator", 0)))]
    assert len({(str(plan.cluster), plan.strategy, plan.communication, plan.rendezvous) for plan in seen}) == 1
    assert len({str([(task.task, task.address, task.role) for task in plan.tasks]) for plan in seen}) == 1


def test_gpus_of_this_machine_that_differ_from_those_the_file_counts_on_are_refused() -> None:
    asked = spec(chief={"addresses": ["a:1"], "gpus": 2}, worker={"addresses": ["b:1"], "gpus": "auto"})
    assert place(asked, host(gpus=2), here="b").world_size == 4
    assert "worker:0 would have 1 GPU and chief:0 2" in refusal(asked, host(gpus=1), "b")


@pytest.mark.parametrize("listed", [[3], 1, 2])
def test_another_machine_is_trusted_to_have_what_auto_leaves(listed: object) -> None:
    asked = spec(
        chief={"addresses": ["a:1"], "gpus": listed},
        worker={"addresses": ["a:2"], "gpus": "auto"},
        evaluator={"addresses": ["b:1"]},
    )
    assert place(asked, host(gpus=0), here="b").communication == "NCCL"


# assumed_inventory


def requests(*jobs: tuple[str, int, dict[str, Any]], role: Role = Role.TRAIN) -> list[TaskRequest]:
    return [
        TaskRequest(Task(name, index), JobSpec.model_validate({"tasks": count} | asked), role)
        for name, count, asked in jobs
        for index in range(count)
    ]


@pytest.mark.parametrize(
    ("asked", "cores"), [({}, 2), ({"cpus": 1}, 3), ({"cpus": 5}, 15)], ids=["none", "fewer than there", "more"]
)
def test_there_are_as_many_cores_as_are_asked_and_no_fewer_than_here(asked: dict[str, Any], cores: int) -> None:
    found = assumed_inventory(requests(("worker", 3, asked)), host(cores=2))
    assert found.cores == tuple(map(Core, range(cores)))


@pytest.mark.parametrize(
    ("jobs", "gpus"),
    [
        ([("worker", 2, {"gpus": 0})], []),
        ([("worker", 2, {"gpus": 3})], [0, 1, 2, 3, 4, 5]),
        ([("worker", 2, {"gpus": [0, 7]})], [0, 7]),
        ([("chief", 1, {"gpus": [1]}), ("worker", 2, {"gpus": 1})], [0, 1, 2]),
        # What auto leaves open: as many for each task as those have of whom the file says it.
        ([("chief", 1, {"gpus": [6]}), ("worker", 2, {"gpus": "auto"})], [0, 1, 6]),
        ([("chief", 1, {"gpus": 2}), ("worker", 2, {"gpus": "auto"})], [0, 1, 2, 3, 4, 5]),
        ([("worker", 1, {"gpus": []})], []),
        ([("worker", 2, {"gpus": "auto"})], [0, 1, 2, 3]),  # as many as here: a file means that its machines are alike
    ],
)
def test_there_are_the_gpus_that_are_asked_for(jobs: list[tuple[str, int, dict[str, Any]]], gpus: list[int]) -> None:
    there = requests(*jobs)
    found = assumed_inventory(there, host(gpus=4))
    assert [gpu.id for gpu in found.gpus] == gpus
    assign_devices(there, found)  # refuses nothing


def test_a_task_that_computes_no_gradients_asks_for_no_gpu() -> None:
    assert assumed_inventory(requests(("ps", 2, {}), role=Role.SERVE), host(gpus=4)).gpus == ()
    assert assumed_inventory(requests(("evaluator", 1, {}), role=Role.EVALUATE), host(gpus=4)).gpus == ()


def test_what_is_asked_of_another_machine_is_assigned_there_whatever_this_one_has() -> None:
    there = requests(("chief", 1, {"gpus": [9, 3], "cpus": 7}), ("worker", 4, {"gpus": 2, "cpus": 3}))
    found = assign_devices(there, assumed_inventory(there, Inventory("empty", ())))
    assert found[Task("chief", 0)].gpus == (9, 3)
    assert len({core for share in found.values() for core in share.cores}) == 19
    assert len({gpu for share in found.values() for gpu in share.gpus}) == 10
