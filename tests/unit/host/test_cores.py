"""Which cores a process may run on: its affinity, their nodes, and the quota of its control groups."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from launcher.host import cores
from launcher.host.cores import cpu_quota, read_cores
from tests.unit.host.groups import place

Nodes = Callable[[Mapping[str, str]], None]


def quota(directory: Path, own: str, files: dict[str, str]) -> float | None:
    return cpu_quota(*place(directory, own, files))


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "400000 100000\n"}, 4.0),
        ("0::/a/b\n", {"a/b/cpu.max": "800000 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        ("0::/a\n", {"a/cpu.max": "max 100000\n"}, None),
        ("0::/not/here\n", {"cpu.max": "50000 100000\n"}, 0.5),  # a container that sees its own group as the root
        ("0::/a\n", {"a/cpu.max": "broken"}, None),
        ("0::/\n", {}, None),
        ("", {}, None),
    ],
)
def test_version_2_allows_what_the_strictest_group_does(
    tmp_path: Path, own: str, files: dict[str, str], expected: float | None
) -> None:
    assert quota(tmp_path, own, files) == expected


@pytest.mark.parametrize(
    ("place", "microseconds", "expected"),
    [("cpu/a", "300000\n", 3.0), ("cpu,cpuacct/a", "50000\n", 0.5), ("cpu", "200000\n", 2.0), ("cpu/a", "-1\n", None)],
)
def test_version_1_is_read_wherever_it_is_mounted(
    tmp_path: Path, place: str, microseconds: str, expected: float | None
) -> None:
    files = {f"{place}/cpu.cfs_quota_us": microseconds, f"{place}/cpu.cfs_period_us": "100000\n"}
    assert quota(tmp_path, "7:memory:/x\n4:cpu,cpuacct:/a\n", files) == expected


V1 = "4:cpu,cpuacct:/docker/abc\n"


def v1(group: str, microseconds: int, period: int = 100_000) -> dict[str, str]:
    return {f"{group}/cpu.cfs_quota_us": f"{microseconds}\n", f"{group}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        # The host's view: the group under its name, and all above it.
        (V1, v1("cpu/docker/abc", 400_000) | v1("cpu/docker", 100_000) | v1("cpu", -1), 1.0),
        # The container's view: its own group is the root, under a name that is not there.
        (V1, v1("cpu", 250_000), 2.5),
        (V1, v1("cpu/docker/abc", 20_000, period=10_000), 2.0),
        # What another controller or another group has is no limit.
        ("5:cpuset:/a\n4:cpuacct:/a\n", v1("cpu/a", 100_000) | v1("cpuset/a", 100_000), None),
        (V1, v1("cpu/docker/other", 100_000), None),
        # Half of the files, or files without numbers.
        (V1, {"cpu/docker/abc/cpu.cfs_quota_us": "100000\n"}, None),
        (V1, v1("cpu", 300_000) | {"cpu/docker/abc/cpu.cfs_quota_us": "\n"}, 3.0),
        # Both versions at once, the kernel's hybrid: the stricter counts.
        (V1 + "0::/a\n", v1("cpu", 300_000) | {"a/cpu.max": "200000 100000\n"}, 2.0),
    ],
)
def test_version_1_is_read_as_the_host_and_as_a_container_see_it(
    tmp_path: Path, own: str, files: dict[str, str], expected: float | None
) -> None:
    assert quota(tmp_path, own, files) == expected


@pytest.mark.parametrize("content", ["", "max", "abc 100000", "100000 abc", "1 2 3", "\xff\xfe"])
def test_a_broken_file_is_passed_over_and_the_groups_above_it_still_count(tmp_path: Path, content: str) -> None:
    assert quota(tmp_path, "0::/a/b\n", {"a/b/cpu.max": content, "a/cpu.max": "300000 100000\n"}) == 3.0


def test_a_group_outside_of_the_mounted_tree_has_no_quota_there(tmp_path: Path) -> None:
    assert quota(tmp_path, "0::/../b\n", {"b/cpu.max": "100000 100000\n"}) is None


def test_a_name_with_a_colon_is_read_whole(tmp_path: Path) -> None:
    assert quota(tmp_path, "0::/a:b\n", {"a:b/cpu.max": "100000 100000\n"}) == 1.0


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "gone", tmp_path) is None


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """What the kernel says of NUMA nodes: writes the list of each node's cores."""

    def write(rows: Mapping[str, str]) -> None:
        for name, row in rows.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "cpulist").write_text(row)

    monkeypatch.setattr(cores, "_NODES", tmp_path)
    return write


def test_each_core_has_its_numa_node(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes({"node0": "0-1,4\n", "node1": "2-3,5\n"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert [core.node for core in read_cores()] == [0, 0, 1, 1, 0, 1]


def test_the_affinity_is_that_of_this_process() -> None:
    assert {core.id for core in read_cores()} <= os.sched_getaffinity(0)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({}, {}),
        ({"node0": "0-1,what\n"}, {}),
        ({"node0": "0-1\n", "node1": "\n", "node12": "2\n"}, {0: 0, 1: 0, 2: 12}),
    ],
    ids=["no folder", "no numbers", "a node of memory alone, and one of two digits"],
)
def test_cores_are_on_the_nodes_that_can_be_read(
    nodes: Nodes, rows: Mapping[str, str], expected: Mapping[int, int]
) -> None:
    nodes(rows)
    assert cores._nodes_of_cores() == expected


def test_the_kernel_s_ranges_are_read() -> None:
    assert cores._ranges("0-3,8\n") == [0, 1, 2, 3, 8]
    assert cores._ranges("\n") == []
