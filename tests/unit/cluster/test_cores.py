"""Which cores a process may use: its affinity, and what control groups leave of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.cluster import cores
from launcher.cluster.cores import cpu_quota, read_cores


def groups(directory: Path, files: dict[str, str]) -> Path:
    """Write the files of a tree of control groups."""
    for name, content in files.items():
        path = directory / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory / "cgroup"


def quota(directory: Path, own: str, files: dict[str, str]) -> float | None:
    (directory / "own").write_text(own)
    return cpu_quota(directory / "own", groups(directory, files))


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


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "gone", tmp_path) is None


@pytest.mark.parametrize(
    ("allowed", "ids", "note"),
    [
        (None, (0, 1, 2, 3), ""),
        (4.0, (0, 1, 2, 3), ""),
        (2.5, (0, 1), "a control group allows 2.5 of 4 cores"),
        (0.5, (0,), "a control group allows 0.5 of 4 cores"),
    ],
)
def test_a_quota_cuts_the_cores_and_says_so(
    monkeypatch: pytest.MonkeyPatch, allowed: float | None, ids: tuple[int, ...], note: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 1, 0, 2}, raising=False)
    monkeypatch.setattr(cores, "cpu_quota", lambda: allowed)
    found, said = read_cores()
    assert (tuple(core.id for core in found), said) == (ids, note)


def test_each_core_has_its_numa_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for node, row in enumerate(("0-1,4\n", "2-3,5\n")):
        (tmp_path / f"node{node}").mkdir()
        (tmp_path / f"node{node}" / "cpulist").write_text(row)
    monkeypatch.setattr(cores, "_NODES", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(cores, "cpu_quota", lambda: None)
    assert [core.node for core in read_cores()[0]] == [0, 0, 1, 1, 0, 1]
