"""The picture of who has what, line by line."""

from __future__ import annotations

from dataclasses import replace

from launcher.host.inventory import Core, Inventory
from launcher.terminal.device_map import device_map, ranges
from tests.unit.plan.machines import machine, placed


def lines(there: Inventory, mode: str = "sync", **cluster: object) -> list[str]:
    return list(device_map(placed(there, mode, **cluster), there))


def test_tasks_without_cores_of_their_own_run_on_any() -> None:
    assert lines(machine(0, 2), worker=2) == [
        "node-a  node 0  cores 0-1  -",
        "                any core   worker:0-1",
    ]


def test_each_row_of_cores_has_its_tasks() -> None:
    assert lines(machine(0, 4), "async", worker={"tasks": 2, "cpus": 1}, ps=1) == [
        "node-a  node 0  core 0     worker:0",
        "                core 1     worker:1",
        "                cores 2-3  chief:0, ps:0",
    ]


def test_two_sockets_with_eight_gpus_and_128_cores_fit_on_a_screen() -> None:
    picture = lines(machine(8, 128, 2), worker={"tasks": 8, "gpus": 1, "cpus": 8})
    assert len(picture) == 18
    assert max(map(len, picture)) < 100
    assert picture[0].split() == ["node-a", "node", "0", "cores", "0-7", "worker:0"]
    assert picture[4].split() == ["cores", "32-63", "-"]
    assert picture[9].split() == ["node", "1", "cores", "64-71", "worker:4"]
    assert picture[17].endswith("GPU 7 (NVIDIA H100 80GB HBM3, 81000 of 81559 MiB free)  worker:7")


def test_a_gpu_names_everyone_who_computes_on_it() -> None:
    shared = lines(machine(2, 2), worker={"tasks": 2, "gpus": [0], "gpu_memory": 100})
    assert [line.split(")  ")[-1] for line in shared if "GPU" in line] == ["worker:0-1", "-"]


def test_a_gpu_that_others_use_says_by_which_process() -> None:
    there = machine(1, 2)
    there = replace(there, gpus=(replace(there.gpus[0], users=(7, 20)),))
    assert any("free, used by process 7, 20)  worker:0" in line for line in lines(there, worker=1))


def test_every_machine_has_its_own_picture() -> None:
    addresses = {"addresses": ["a:1", "b:1"], "cpus": 1}
    assert lines(machine(0, 2), worker=addresses) == [
        "a  node 0  core 0  worker:0",
        "           core 1  -",
        "b  node 0  core 0  worker:1",
        "           core 1  -",
    ]


H100 = "(NVIDIA H100 80GB HBM3, 81000 of 81559 MiB free)"


def test_two_sockets_with_eight_gpus_and_128_cores_are_drawn_whole() -> None:
    there = machine(8, 128, 2)
    assert lines(there, worker={"tasks": 8, "gpus": 1, "cpus": 8}, evaluator=1) == [
        "node-a  node 0  cores 0-7                                               worker:0",
        "                cores 8-15                                              worker:1",
        "                cores 16-23                                             worker:2",
        "                cores 24-31                                             worker:3",
        "                cores 32-63                                             evaluator:0",
        f"                GPU 0 {H100}  worker:0",
        f"                GPU 1 {H100}  worker:1",
        f"                GPU 2 {H100}  worker:2",
        f"                GPU 3 {H100}  worker:3",
        "        node 1  cores 64-71                                             worker:4",
        "                cores 72-79                                             worker:5",
        "                cores 80-87                                             worker:6",
        "                cores 88-95                                             worker:7",
        "                cores 96-127                                            evaluator:0",
        f"                GPU 4 {H100}  worker:4",
        f"                GPU 5 {H100}  worker:5",
        f"                GPU 6 {H100}  worker:6",
        f"                GPU 7 {H100}  worker:7",
    ]


def test_a_row_of_cores_that_tasks_share_names_them_all_and_who_roams_comes_last() -> None:
    assert lines(machine(2, 128, 2), worker={"tasks": 2, "gpus": 1}, evaluator=1) == [
        "node-a  node 0  cores 0-63                                              worker:0",
        f"                GPU 0 {H100}  worker:0",
        "        node 1  cores 64-127                                            worker:1",
        f"                GPU 1 {H100}  worker:1",
        "                any core                                                evaluator:0",
    ]


def test_shared_gpus_and_shared_cores_are_drawn_with_everyone_on_them() -> None:
    worker = {"tasks": 4, "gpus": [0, 1], "gpu_memory": 100}
    assert lines(machine(2, 4, 2), worker=worker, evaluator={"tasks": 1, "cpus": 2}) == [
        "node-a  node 0  cores 0-1                                               evaluator:0",
        f"                GPU 0 {H100}  worker:0-1",
        "        node 1  cores 2-3                                               worker:0-3",
        f"                GPU 1 {H100}  worker:2-3",
    ]


def test_every_machine_has_its_gpus_and_one_name_whatever_its_letters() -> None:
    worker = {"addresses": ["a:1", "node-b:1"], "cpus": 1}
    assert lines(machine(1, 2), worker=worker, evaluator={"addresses": ["NODE-B:5"]}) == [
        "a  node 0  core 0                                                  worker:0",
        "           core 1                                                  -",
        f"           GPU 0 {H100}  worker:0",
        "node-b  node 0  core 0                                                  worker:1",
        "                core 1                                                  evaluator:0",
        f"                GPU 0 {H100}  worker:1",
    ]


def test_this_machine_has_its_own_name_however_the_file_calls_it() -> None:
    there = machine(0, 1)
    assert lines(there, worker={"addresses": ["localhost:1", "127.0.0.1:2"]}, evaluator={"addresses": ["[::1]:3"]}) == [
        "node-a  node 0  core 0    -",
        "                any core  worker:0-1, evaluator:0",
    ]


def test_nodes_are_drawn_in_order_whatever_the_order_of_their_cores_and_with_gpus_alone_too() -> None:
    there = replace(machine(1, 2), cores=(Core(0, 1), Core(1, 0), Core(2, 1)))
    there = replace(there, gpus=(replace(there.gpus[0], node=2, name=""),))
    assert lines(there, worker={"tasks": 1, "gpus": 0}) == [
        "node-a  node 0  core 1                                    -",
        "        node 1  cores 0,2                                 -",
        "        node 2  GPU 0 (unknown, 81000 of 81559 MiB free)  -",
        "                any core                                  worker:0",
    ]


def test_many_processes_on_a_gpu_are_counted_and_memory_may_be_unknown() -> None:
    there = machine(2, 2)
    first, second = there.gpus
    there = replace(there, gpus=(replace(first, users=(7, 8, 9, 10)), replace(second, users=(7, 8), total=0, free=0)))
    drawn = lines(there, worker={"tasks": 1, "gpus": 0})
    assert "GPU 0 (NVIDIA H100 80GB HBM3, 81000 of 81559 MiB free, used by 4 processes)" in drawn[1]
    assert "GPU 1 (NVIDIA H100 80GB HBM3, memory unknown, used by process 7, 8)" in drawn[2]


def test_core_numbers_that_alternate_between_sockets_do_not_make_it_wide() -> None:
    cores = tuple(Core(number, number % 2) for number in range(128))
    there = replace(machine(0, 128, 2), cores=cores)
    picture = lines(there, worker=2)
    assert picture[0] == "node-a  node 0  cores 0…126 (64 of them)  -"
    assert max(map(len, picture)) < 60


def test_numbers_in_a_row_are_a_range() -> None:
    assert ranges([0, 1, 2, 3, 8]) == "0-3,8"
    assert ranges([]) == ""
    assert ranges([4, 5, 6, 0, 1]) == "4-6,0-1"  # cores of the GPU's node come first
    assert ranges([3, 2]) == "3,2"
