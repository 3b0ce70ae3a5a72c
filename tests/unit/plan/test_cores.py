"""Cores of one invented host: which task gets which, how near to its GPUs, and how many threads that makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.contract.roles import ROLES, Role
from launcher.contract.task import Task
from launcher.errors import SpecError
from launcher.host.inventory import Core, Gpu, Inventory
from launcher.plan.cores import CoreShare, assign_cores, usable_cores
from launcher.plan.requests import TaskRequest
from launcher.spec.model import JobSpec
from tests.examples import examples

PLAYED: Mapping[str, Role] = {**ROLES["sync"], "ps": Role.SERVE}
Gpus = Mapping[str, Sequence[int]]


def host(cores: Sequence[int], gpus: Sequence[int] = ()) -> Inventory:
    """Invent a host: the node of each core, and the node of each GPU."""
    return Inventory(
        "h",
        tuple(Core(number, node) for number, node in enumerate(cores)),
        tuple(Gpu(number, f"GPU-{number}", "T4", 16_000, 16_000, node) for number, node in enumerate(gpus)),
    )


def requests(jobs: Mapping[str, tuple[int, int | None]]) -> list[TaskRequest]:
    """Ask for so many tasks of each job, and so many cores for each of them."""
    return [
        TaskRequest(Task(name, index), JobSpec(tasks=tasks, cpus=cpus), PLAYED[name])
        for name, (tasks, cpus) in jobs.items()
        for index in range(tasks)
    ]


def assigned(there: Inventory, gpus: Gpus | None = None, **jobs: tuple[int, int | None]) -> dict[str, CoreShare]:
    owners = {Task.parse(name): own for name, own in (gpus or {}).items()}
    return {str(task): share for task, share in assign_cores(requests(jobs), owners, there).items()}


TWO_SOCKETS = host([0, 0, 0, 0, 1, 1, 1, 1], gpus=[0, 1])


@pytest.mark.parametrize(
    ("nodes", "quota", "ids"),
    [
        ([0, 0, 0, 0], None, [0, 1, 2, 3]),
        ([0, 0, 0, 0], 4.0, [0, 1, 2, 3]),
        ([0, 0, 0, 0], 2.5, [0, 1]),
        ([0, 0, 0, 0], 0.5, [0]),  # a task has to run somewhere
        ([0], 0.25, [0]),
        ([0], 64.0, [0]),
        ([0, 0, 0, 0, 1, 1, 1, 1], 4.0, [0, 1, 4, 5]),  # some of every node
        ([], None, []),
    ],
)
def test_a_quota_leaves_as_many_cores_as_it_allows_from_every_node_in_turn(
    nodes: list[int], quota: float | None, ids: list[int]
) -> None:
    there = replace(host(nodes), cpu_quota=quota)
    assert [core.id for core in usable_cores(there)] == ids


def test_no_task_gets_a_core_beyond_the_quota() -> None:
    there = replace(TWO_SOCKETS, cpu_quota=4.0)
    assert assigned(there, worker=(2, 2)) == {"worker:0": CoreShare((0, 1), 2), "worker:1": CoreShare((4, 5), 2)}
    with pytest.raises(SpecError, match="worker asks for 5 cores; this machine has 4"):
        assigned(there, worker=(1, 5))


@pytest.mark.parametrize(("cores", "tasks", "threads"), [(1, 1, 1), (1, 4, 1), (4, 2, 2), (5, 2, 2), (128, 3, 42)])
def test_if_no_task_asks_for_cores_all_run_anywhere_with_an_even_share_of_threads(
    cores: int, tasks: int, threads: int
) -> None:
    found = assigned(host([0] * cores), worker=(tasks, None))
    assert found == {f"worker:{i}": CoreShare((), threads) for i in range(tasks)}


def test_tasks_that_ask_for_cores_get_their_own_in_order_and_the_others_share_the_rest() -> None:
    assert assigned(host([0] * 8), chief=(1, 1), worker=(2, 2), ps=(2, None)) == {
        "chief:0": CoreShare((0,), 1),
        "worker:0": CoreShare((1, 2), 2),
        "worker:1": CoreShare((3, 4), 2),
        "ps:0": CoreShare((5, 6, 7), 1),
        "ps:1": CoreShare((5, 6, 7), 1),
    }


def test_more_that_share_than_there_is_left_have_a_thread_each() -> None:
    found = assigned(host([0] * 4), worker=(1, 3), ps=(5, None))
    assert {found[f"ps:{i}"] for i in range(5)} == {CoreShare((3,), 1)}


def test_if_nothing_is_left_the_others_run_anywhere() -> None:
    assert assigned(host([0] * 4), worker=(2, 2), ps=(2, None))["ps:1"] == CoreShare((), 1)


def test_the_number_of_a_core_is_the_kernel_s_and_not_its_place_in_the_row() -> None:
    there = Inventory("h", (Core(3), Core(7), Core(12)))
    assert assigned(there, worker=(1, 2), ps=(1, None)) == {
        "worker:0": CoreShare((3, 7), 2), "ps:0": CoreShare((12,), 1),
    }  # fmt: skip


def test_cores_come_from_the_node_of_the_gpu_whichever_task_is_first() -> None:
    found = assigned(TWO_SOCKETS, {"worker:0": [1], "worker:1": [0]}, worker=(2, 2))
    assert [found[f"worker:{i}"].cores for i in range(2)] == [(4, 5), (0, 1)]


def test_a_node_s_cores_need_not_stand_in_a_row() -> None:
    there = host([0, 1, 0, 1, 0, 1], gpus=[0, 1])
    found = assigned(there, {"worker:0": [0], "worker:1": [1]}, worker=(2, 2))
    assert [found[f"worker:{i}"].cores for i in range(2)] == [(0, 2), (1, 3)]


def test_the_node_of_the_first_gpu_comes_first_if_a_task_has_gpus_of_both() -> None:
    assert assigned(TWO_SOCKETS, {"worker:0": [1, 0]}, worker=(1, 5))["worker:0"].cores == (4, 5, 6, 7, 0)


def test_a_full_node_sends_its_next_task_to_the_other_as_a_whole() -> None:
    found = assigned(TWO_SOCKETS, {"worker:0": [0], "worker:1": [0]}, worker=(2, 4))
    assert [found[f"worker:{i}"].cores for i in range(2)] == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_a_gpu_on_a_node_whose_cores_are_all_forbidden_gets_others() -> None:
    there = host([0, 0, 1, 1], gpus=[2])  # the affinity leaves none of node 2
    assert assigned(there, {"worker:0": [0]}, worker=(1, 2))["worker:0"] == CoreShare((0, 1), 2)
    assert assigned(there, {"worker:0": [0]}, worker=(1, None))["worker:0"] == CoreShare((), 4)


def test_tasks_with_gpus_choose_before_those_without() -> None:
    found = assigned(TWO_SOCKETS, {"worker:0": [0]}, chief=(1, 3), worker=(1, 3))
    assert (found["worker:0"].cores, found["chief:0"].cores) == ((0, 1, 2), (4, 5, 6))


def test_a_task_without_gpus_stays_on_one_node_if_one_has_room() -> None:
    found = assigned(host([0, 0, 0, 1, 1, 1, 1]), worker=(1, 1), ps=(1, 4), evaluator=(1, 2))
    assert [share.cores for share in found.values()] == [(0,), (3, 4, 5, 6), (1, 2)]


def test_a_task_that_no_node_can_hold_is_spread() -> None:
    assert assigned(host([0, 0, 1, 1]), worker=(1, 3))["worker:0"].cores == (0, 1, 2)


def test_tasks_with_gpus_that_ask_for_no_cores_share_those_of_their_node() -> None:
    found = assigned(TWO_SOCKETS, {"worker:0": [0], "worker:1": [0], "worker:2": [1]}, worker=(3, None), ps=(1, None))
    assert found == {
        "worker:0": CoreShare((0, 1, 2, 3), 2),
        "worker:1": CoreShare((0, 1, 2, 3), 2),
        "worker:2": CoreShare((4, 5, 6, 7), 4),
        "ps:0": CoreShare((), 2),
    }


def test_if_a_node_is_taken_its_tasks_without_cores_share_what_is_left_elsewhere() -> None:
    found = assigned(TWO_SOCKETS, {"chief:0": [0], "worker:0": [0]}, chief=(1, 4), worker=(1, None))
    assert found["worker:0"] == CoreShare((4, 5, 6, 7), 4)


def test_on_one_socket_gpus_pin_no_task() -> None:
    there = host([0] * 4, gpus=[0, 0])
    assert assigned(there, {"worker:0": [0], "worker:1": [1]}, worker=(2, None)) == {
        "worker:0": CoreShare((), 2), "worker:1": CoreShare((), 2),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cores", "jobs", "message"),
    [
        (1, {"worker": (1, 2)}, "worker.cpus: worker asks for 2 cores; this machine has 1"),
        (128, {"worker": (8, 17)}, "worker.cpus: worker asks for 136 cores (8 tasks x 17); this machine has 128"),
        (
            4,
            {"worker": (2, 2), "ps": (1, 1), "evaluator": (1, None)},
            "worker.cpus: worker asks for 4 cores (2 tasks x 2) and ps asks for 1 core, together 5; this machine has 4",
        ),
    ],
)
def test_more_than_there_is_is_refused_with_both_sides(
    cores: int, jobs: dict[str, tuple[int, int | None]], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        assign_cores(requests(jobs), {}, host([0] * cores))
    assert str(caught.value) == f"cluster.{message}"


asked = st.none() | st.integers(1, 6)
nodes = st.lists(st.integers(0, 2), min_size=1, max_size=16)


@st.composite
def asks(draw: st.DrawFn) -> tuple[Inventory, dict[str, Any], dict[str, list[int]]]:
    there = host(draw(nodes), draw(st.lists(st.integers(0, 2), max_size=8)))
    jobs: dict[str, Any] = {name: (draw(st.integers(1, 3)), draw(asked)) for name in PLAYED}
    trains = [str(request.task) for request in requests(jobs) if request.role is Role.TRAIN]
    owners = st.sampled_from(trains)
    found: dict[str, list[int]] = {}
    for gpu in there.gpus:
        found.setdefault(draw(owners), []).append(gpu.id)
    return there, jobs, found


@examples(400)
@given(asks())
def test_no_core_is_pinned_twice_and_tasks_are_near_their_gpus_while_there_is_room(
    case: tuple[Inventory, dict[str, Any], dict[str, list[int]]],
) -> None:
    there, jobs, gpus = case
    wanted = {str(request.task): request.job.cpus for request in requests(jobs)}
    total = sum(cpus or 0 for cpus in wanted.values())
    if total > len(there.cores):
        with pytest.raises(SpecError, match=f"this machine has {len(there.cores)}$"):
            assigned(there, gpus, **jobs)
        return
    found = assigned(there, gpus, **jobs)
    own = [core for name, cpus in wanted.items() if cpus for core in found[name].cores]
    assert len(own) == len(set(own)) == total
    shared = {core for name, cpus in wanted.items() if not cpus for core in found[name].cores}
    assert not shared & set(own)
    assert shared | set(own) <= {core.id for core in there.cores}
    node = {core.id: core.node for core in there.cores}
    free = {core.id for core in there.cores} - set(own)
    for name, share in found.items():
        assert len(share.cores) == share.threads if wanted[name] else share.threads >= 1
        assert wanted[name] or share.threads <= len(share.cores or there.cores)
        homes = {there.gpus[gpu].node for gpu in gpus.get(name, ())}
        if homes and {node[core] for core in share.cores} - homes:
            # A core far from its GPUs: nobody without GPUs has one near them, and none is left there.
            assert not any(node[core] in homes for core in free)
            others = [other for other, cpus in wanted.items() if cpus and not gpus.get(other)]
            assert not any(node[core] in homes for other in others for core in found[other].cores) or not wanted[name]


def test_threads_of_tasks_whose_gpus_span_sockets_are_no_more_than_the_cores() -> None:
    found = assigned(TWO_SOCKETS, {"worker:0": [0, 1], "worker:1": [0], "worker:2": [1]}, worker=(3, None))
    assert [share.threads for share in found.values()] == [4, 2, 2]
    assert sum(share.threads for share in found.values()) <= 8


def test_a_task_without_gpus_takes_cores_that_are_near_no_task_s_gpu() -> None:
    found = assigned(host([0, 0, 1, 1], gpus=[0]), {"worker:0": [0]}, worker=(1, None), ps=(1, 2))
    assert found["ps:0"].cores == (2, 3)
    assert found["worker:0"].cores == (0, 1)
