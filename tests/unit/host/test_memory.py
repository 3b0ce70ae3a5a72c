"""The memory that this process may use: the machine's, and what the control groups leave of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from launcher.host.memory import Memory, read_memory
from tests.unit.host.groups import place

TOTAL, FREE = 1000, 600
V1 = "4:memory:/docker/abc\n3:cpuset:/\n"
NONE = "9223372036854771712\n"  # version 1 writes the largest number of pages for no limit


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=TOTAL, available=FREE))


def v2(group: str, limit: str, used: int = 0, files: int = 0) -> dict[str, str]:
    prefix = f"{group}/memory".lstrip("/")
    stat = f"anon 1\ninactive_file {files}\n"
    return {f"{prefix}.max": f"{limit}\n", f"{prefix}.current": f"{used}\n", f"{prefix}.stat": stat}


def v1(group: str, limit: str, used: int = 0, files: int = 0) -> dict[str, str]:
    prefix = f"memory/{group}/memory".replace("//", "/")
    stat = f"inactive_file 1\ntotal_inactive_file {files}\n"
    return {f"{prefix}.limit_in_bytes": f"{limit}\n", f"{prefix}.usage_in_bytes": f"{used}\n", f"{prefix}.stat": stat}


@pytest.mark.parametrize(
    ("own", "files", "available", "limit"),
    [
        ("0::/a/b\n", v2("a/b", "400", 300), 100, 400),
        ("0::/a/b\n", v2("a/b", "400", 300, 250), 350, 400),  # the kernel drops files that nobody has used of late
        ("0::/a/b\n", v2("a/b", "max", 300), FREE, None),
        ("0::/a/b\n", v2("a/b", "max") | v2("a", "500", 450), 50, 500),
        ("0::/a/b\n", v2("a/b", "400", 10) | v2("a", "500", 450), 50, 400),  # the strictest limit, the fullest group
        ("0::/not/here\n", v2("", "300", 100), 200, 300),  # a container that sees its own group as the root
        ("0::/a\n", v2("a", "900", 0), FREE, 900),  # the machine has less
        ("0::/a\n", v2("a", "5000", 0), FREE, None),  # the machine does not have so much
        ("0::/a\n", v2("a", "200", 300), 0, 200),  # a limit that was lowered
        ("0::/a\n", {"a/memory.max": "400\n"}, FREE, None),
        ("0::/a\n", v2("a", "broken"), FREE, None),
        (V1, v1("docker/abc", "400", 300, 100), 200, 400),
        (V1, v1("docker/abc", NONE) | v1("docker", "500", 100), 400, 500),
        (V1, v1("docker/abc", NONE) | v1("", NONE), FREE, None),
        (V1, v1("", "300", 100), 200, 300),  # in the container
        (V1, v1("docker/other", "100"), FREE, None),
        ("", {}, FREE, None),
    ],
)
def test_what_is_free_is_what_the_fullest_group_leaves(
    tmp_path: Path, own: str, files: Mapping[str, str], available: int, limit: int | None
) -> None:
    assert read_memory(*place(tmp_path, own, files)) == Memory(TOTAL, available, limit)


def test_a_system_without_control_groups_has_the_machines_memory(tmp_path: Path) -> None:
    assert read_memory(tmp_path / "own", tmp_path / "cgroup") == Memory(TOTAL, FREE)


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (Memory(24 << 30, 1 << 30), "this machine has 24.0 GiB"),
        (Memory(24 << 30, 1 << 30, 512 << 20), "limit of the control group: 512 MiB"),
    ],
)
def test_what_may_be_used_at_all_is_said_in_words(memory: Memory, said: str) -> None:
    assert memory.bound == said
