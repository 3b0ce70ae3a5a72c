"""The picture of who has what, line by line."""

from __future__ import annotations

from dataclasses import replace

from launcher.cluster.inventory import Inventory
from launcher.commands.device_map import device_map, ranges
from tests.unit.cluster.test_placement_machines import machine, placed


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


def test_numbers_in_a_row_are_a_range() -> None:
    assert ranges([0, 1, 2, 3, 8]) == "0-3,8"
    assert ranges([]) == ""
