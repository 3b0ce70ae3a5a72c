from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.contract.task import Task
from launcher.errors import SpecError
from launcher.host.inventory import Core, Gpu, Inventory
from launcher.plan.placement import hosts, place, ports_needed
from launcher.plan.plan import Plan, TaskPlan
from launcher.spec.model import ClusterSpec


def host(cores: int = 4, gpus: int = 0, ports: int = 20, note: str = "no NVIDIA driver") -> Inventory:
    return Inventory(
        "h",
        tuple(Core(number) for number in range(cores)),
        tuple(Gpu(number, f"GPU-{number}", "T4", 16_000, 16_000) for number in range(gpus)),
        "" if gpus else note,
        tuple(range(5000, 5000 + ports)),
    )


def plan(inventory: Inventory | None = None, mode: str = "sync", **cluster: Any) -> Plan:
    jobs = {name: {"tasks": job} if isinstance(job, int) else job for name, job in cluster.items()}
    spec = ClusterSpec.model_validate({"job": "hello", "mode": mode, "cluster": jobs})
    return place(spec, inventory or host(), "/where")


def task(plan: Plan, name: str) -> TaskPlan:
    found = plan.find(Task.parse(name))
    assert found is not None
    return found


def names(plan: Plan) -> list[str]:
    return [str(there.task) for there in plan.tasks]


def refusal(inventory: Inventory | None = None, mode: str = "sync", **cluster: Any) -> str:
    with pytest.raises(SpecError) as caught:
        plan(inventory, mode, **cluster)
    return str(caught.value)


def test_sync_trains_on_chief_and_workers_and_says_why_ps_idles() -> None:
    found = plan(chief=1, worker=2, ps=2)
    assert [(str(there.task), there.role) for there in found.tasks] == [
        ("chief:0", "train"), ("worker:0", "train"), ("worker:1", "train"),
    ]  # fmt: skip
    assert [str(idle.task) for idle in found.idle] == ["ps:0", "ps:1"]
    assert found.idle[0].reason.startswith("sync mode starts no ps: MultiWorkerMirroredStrategy keeps every variable")
    assert found.strategy == "MultiWorkerMirroredStrategy"
    assert found.communication == "RING"
    assert set(found.cluster) == {"chief", "worker"}
    assert found.world_size == 3


def test_async_adds_a_chief_that_coordinates() -> None:
    found = plan(mode="async", worker=2, ps=1)
    assert {str(there.task): there.role for there in found.tasks} == {
        "chief:0": "coordinate", "worker:0": "compute", "worker:1": "compute", "ps:0": "serve",
    }  # fmt: skip
    assert found.leader == Task("chief", 0)
    assert {job: len(addresses) for job, addresses in found.cluster.items()} == {"chief": 1, "worker": 2, "ps": 1}
    assert found.strategy == "ParameterServerStrategy"
    assert found.communication == "gRPC"
    assert not found.idle


def test_a_written_chief_is_not_added_again() -> None:
    assert names(plan(mode="async", chief=1, worker=1, ps=1)) == ["chief:0", "worker:0", "ps:0"]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_evaluator_joins_no_cluster_and_computes_on_the_cpu(mode: str) -> None:
    found = plan(host(gpus=4), mode, worker=2, ps=1, evaluator=1)
    evaluator = task(found, "evaluator:0")
    assert (evaluator.role, evaluator.address, evaluator.gpus) == ("evaluate", "", ())
    assert "evaluator" not in found.cluster
    assert "TF_CONFIG" not in found.environment(evaluator)
    assert found.context(evaluator).rendezvous == ""


@pytest.mark.parametrize(
    ("inventory", "worker", "strategy"),
    [
        (host(), {}, "OneDeviceStrategy"),
        (host(gpus=1), {}, "OneDeviceStrategy"),
        (host(gpus=2), {}, "MirroredStrategy"),
        (host(), {"virtual_devices": 2}, "MirroredStrategy"),
        (host(gpus=2), {"gpus": 1}, "OneDeviceStrategy"),
        (host(gpus=2), {"gpus": 0}, "OneDeviceStrategy"),
    ],
)
def test_one_training_task_has_no_rendezvous(inventory: Inventory, worker: dict[str, Any], strategy: str) -> None:
    found = plan(inventory, worker=worker)
    assert found.strategy == strategy
    assert (found.rendezvous, found.cluster) == ("", {})
    assert "TF_CONFIG" not in found.environment(found.tasks[0])


def test_the_leader_is_the_chief_else_the_first_worker() -> None:
    assert plan(chief=1, worker=1).leader == Task("chief", 0)
    assert plan(worker=2).leader == Task("worker", 0)


def test_ports_are_taken_in_order_and_one_more_for_the_rendezvous() -> None:
    found = plan(worker=2)
    assert found.cluster == {"worker": ("127.0.0.1:5000", "127.0.0.1:5001")}
    assert found.rendezvous == "127.0.0.1:5002"


def test_a_port_counts_up_and_a_chosen_one_never_meets_a_written_one() -> None:
    found = plan(mode="async", worker={"tasks": 2, "port": 5000}, ps=1)
    assert found.cluster["worker"] == ("127.0.0.1:5000", "127.0.0.1:5001")
    chosen = {*found.cluster["chief"], *found.cluster["ps"], found.rendezvous}
    assert len(chosen) == 3
    assert not chosen & set(found.cluster["worker"])


def test_written_addresses_fix_the_rendezvous_for_every_machine() -> None:
    cluster: dict[str, Any] = {
        "worker": {"addresses": ["node-a:2222", "node-b:2400"]},
        "ps": {"addresses": ["NODE-A:2230"]},
    }
    assert plan(**cluster).rendezvous == "node-a:2231"
    one, other = (plan(host(ports=ports), "async", **cluster) for ports in (9, 3))
    assert one.cluster == other.cluster
    assert one.cluster["chief"] == ("node-a:2231",)
    assert one.rendezvous == other.rendezvous == "node-a:2232"
    assert hosts(one) == ("node-a", "node-b")


def test_an_address_without_a_port_takes_the_job_s() -> None:
    found = plan(worker={"addresses": ["node-a", "node-b", "node-a"], "port": 2222})
    assert found.cluster["worker"] == ("node-a:2222", "node-b:2222", "node-a:2223")


def test_names_of_this_machine_are_one_machine() -> None:
    assert len(hosts(plan(worker={"addresses": ["localhost:1", "127.0.0.1:2"]}))) == 1


def test_ports_needed_is_enough_for_every_plan() -> None:
    spec = ClusterSpec.model_validate({"job": "a", "mode": "async", "cluster": {"worker": {"tasks": 3}, "ps": {}}})
    place(spec, host(ports=ports_needed(spec)))


def test_too_few_free_ports_are_refused() -> None:
    assert refusal(host(ports=3), worker=3).startswith("cluster.worker: needs more free ports than this machine has")


def test_cores_are_pinned_in_order_and_the_others_share_what_is_left() -> None:
    found = plan(host(cores=6), "async", worker={"tasks": 2, "cpus": 2}, ps=1)
    assert [task(found, name).cores for name in ("worker:0", "worker:1")] == [(0, 1), (2, 3)]
    assert task(found, "chief:0").cores == task(found, "ps:0").cores == (4, 5)
    assert found.environment(task(found, "worker:0"))["TF_NUM_INTRAOP_THREADS"] == "2"
    assert found.environment(task(found, "ps:0"))["OMP_NUM_THREADS"] == "1"


def test_if_no_core_is_left_the_others_are_not_pinned() -> None:
    assert task(plan(host(cores=2), "async", worker={"tasks": 2, "cpus": 1}, ps=1), "ps:0").cores == ()


def test_nothing_is_pinned_if_no_cpus_are_asked() -> None:
    found = plan(host(cores=4), worker=2)
    assert {there.cores for there in found.tasks} == {()}
    assert found.environment(found.tasks[0])["TF_NUM_INTRAOP_THREADS"] == "2"


def test_tasks_that_do_not_start_take_no_cores() -> None:
    plan(host(cores=2), worker={"tasks": 2, "cpus": 1}, ps={"cpus": 8})


def test_too_few_cores_are_refused_with_both_sides() -> None:
    assert refusal(host(cores=2), worker={"tasks": 2, "cpus": 2}) == (
        "cluster.worker.cpus: worker asks for 4 cores (2 tasks x 2); this machine has 2"
    )
    assert refusal(host(cores=2), chief={"cpus": 1}, worker={"tasks": 2, "cpus": 1}) == (
        "cluster.chief.cpus: chief asks for 1 core and worker asks for 2 cores (2 tasks x 1), together 3; "
        "this machine has 2"
    )


def test_each_machine_of_several_starts_from_all_of_its_cores() -> None:
    found = plan(host(cores=2), worker={"addresses": ["a:1", "b:1"], "cpus": 2})
    assert [there.cores for there in found.tasks] == [(0, 1), (0, 1)]


@pytest.mark.parametrize(
    ("gpus", "asked", "expected"),
    [
        (4, "auto", [(0, 1), (2, 3)]),
        (3, "auto", [(0,), (1,)]),
        (1, "auto", [(), ()]),
        (4, 1, [(0,), (1,)]),
        (4, 0, [(), ()]),
        (4, [3, 1], [(3,), (1,)]),
        (4, [3, 1, 0, 2], [(3, 1), (0, 2)]),
    ],
)
def test_gpus_are_assigned_once_and_in_order(gpus: int, asked: Any, expected: list[tuple[int, ...]]) -> None:
    found = plan(host(gpus=gpus), worker={"tasks": 2, "gpus": asked})
    assert [there.gpus for there in found.tasks] == expected
    assert found.communication == ("NCCL" if expected[0] else "RING")
    visible = [found.environment(there)["CUDA_VISIBLE_DEVICES"] for there in found.tasks]
    assert visible == [",".join(map(str, ids)) or "-1" for ids in expected]


@pytest.mark.parametrize(
    ("gpus", "worker", "expected"),
    [
        (0, {"gpus": 1}, "worker asks for 2 GPUs (2 tasks x 1); this machine has none (no NVIDIA driver)"),
        (1, {"gpus": 1}, "worker asks for 2 GPUs (2 tasks x 1); this machine has 1 (GPU 0)"),
        (2, {"gpus": [0, 5]}, "lists GPU 5, but this machine has 2 (GPU 0, 1)"),
        (4, {"gpus": [0, 1, 2]}, "lists 3 GPUs, which 2 tasks cannot share evenly"),
        (2, {"virtual_devices": 2}, "virtual devices of a GPU need gpu_memory"),
        (0, {"virtual_devices": 2}, "compute on one CPU device each"),
    ],
)
def test_gpus_that_are_not_there_are_refused_with_both_sides(gpus: int, worker: dict[str, Any], expected: str) -> None:
    assert expected in refusal(host(gpus=gpus), worker=worker | {"tasks": 2})


def test_in_async_only_workers_get_gpus() -> None:
    found = plan(host(gpus=2), "async", chief=1, worker=2, ps=1)
    assert {str(there.task): there.gpus for there in found.tasks} == {
        "chief:0": (), "worker:0": (0,), "worker:1": (1,), "ps:0": (),
    }  # fmt: skip


def test_the_job_s_own_environment_comes_last_and_noise_is_not_filtered() -> None:
    found = plan(worker={"tasks": 2, "env": {"OMP_NUM_THREADS": 9, "MINE": "x"}})
    variables = found.environment(found.tasks[1])
    assert (variables["OMP_NUM_THREADS"], variables["MINE"]) == ("9", "x")
    assert (variables["GRPC_FAIL_FAST"], variables["PYTHONUNBUFFERED"]) == ("use_caller", "1")
    assert "TF_CPP_MIN_LOG_LEVEL" not in variables
    assert variables["no_grpc_proxy"] == "127.0.0.1"
    assert json.loads(variables["TF_CONFIG"]) == {
        "cluster": {"worker": ["127.0.0.1:5000", "127.0.0.1:5001"]}, "task": {"type": "worker", "index": 1},
    }  # fmt: skip


def test_asynchronous_servers_have_a_thread_for_each_worker_and_one_more() -> None:
    found = plan(mode="async", worker=3, ps=1)
    assert {found.environment(there)["TF_NUM_INTEROP_THREADS"] for there in found.tasks} == {"4"}


def test_synchronous_tasks_have_as_many_threads_as_cores() -> None:
    found = plan(worker={"tasks": 2, "cpus": 1})
    assert {found.environment(there)["TF_NUM_INTEROP_THREADS"] for there in found.tasks} == {"1"}


def test_a_plan_is_plain_json_and_the_same_for_the_same_input() -> None:
    assert json.dumps(plan(worker=2).to_dict()) == json.dumps(plan(worker=2).to_dict())


def test_ten_thousand_tasks_are_placed_and_found() -> None:
    found = plan(host(ports=10_010), "async", worker=10_000, ps=1)
    assert all(found.find(there.task) is there for there in found.tasks)
    assert len(found.to_dict()["tasks"]) == 10_002
