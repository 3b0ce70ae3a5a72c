"""Whether the kernel killed a process because memory ran out: by its log, and by the count of a control group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.host import out_of_memory
from launcher.host.control_groups import control_groups
from launcher.host.memory import Memory
from launcher.host.out_of_memory import OutOfMemory
from tests.unit.host.groups import place

NAMED, COUNTED = "killed by the kernel because memory ran out (", "killed by SIGKILL when memory had run out ("
LIMITED = Memory(total=8 << 30, available=0, limit=2 << 30)
# As Linux 6.18 writes them: first what was found, then what was done.
FOUND = (
    "4,4836,26745345421,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    "oom_memcg=/a,task_memcg=/a,task=python3,pid={pid},uid=0\n"
)
DONE = (
    "3,4837,26745345459,-;Memory cgroup out of memory: Killed process {pid} (python3) total-vm:75160kB, "
    "anon-rss:65152kB, file-rss:6656kB, shmem-rss:0kB, UID:0 pgtables:184kB oom_score_adj:0\n"
)
ELSEWHERE = "3,1,1,-;Out of memory: Killed process {pid} (python3) total-vm:75160kB, anon-rss:65152kB\n"


class Kernel:
    """Its log and its count, as files."""

    def __init__(self, directory: Path) -> None:
        self.log, self.counter = directory / "kmsg", directory / "events"
        self.log.write_text(DONE.format(pid=1))
        self.counts(5)

    def counts(self, deaths: int) -> None:
        self.counter.write_text(f"low 0\noom 9\noom_kill {deaths}\n")

    def says(self, record: str) -> None:
        with self.log.open("a") as log:
            log.write(record)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr(out_of_memory, "_FIRST_NAMESPACE", str(Path("/proc/self/ns/pid").readlink()))
    monkeypatch.setattr(out_of_memory, "read_memory", lambda: LIMITED)
    return Kernel(tmp_path)


@pytest.fixture
def memory(kernel: Kernel) -> Iterator[OutOfMemory]:
    with OutOfMemory(kernel.log, kernel.counter) as memory:
        yield memory


@pytest.mark.parametrize("record", [FOUND, DONE, ELSEWHERE])
def test_a_process_that_the_log_names_was_killed_by_the_kernel(
    kernel: Kernel, memory: OutOfMemory, record: str
) -> None:
    kernel.says(record.format(pid=77) + "6,4838,1,-;eth0: link is up\n")
    assert memory.explain(7, 0.0) == memory.explain(None, 0.0) == ""
    said = memory.explain(77, 0.0)
    assert said.startswith(f"{NAMED}limit of the control group: 2.0 GiB); run fewer tasks on this machine, ")
    assert memory.explain(77, 0.0) == ""  # the next process of that number


def test_what_the_log_and_the_count_said_before_is_not_of_this_run(memory: OutOfMemory) -> None:
    assert memory.explain(1, 0.0) == ""


def test_a_count_that_rises_at_that_moment_is_called_likely_and_stands_for_one_process(
    kernel: Kernel, memory: OutOfMemory
) -> None:
    memory.look(0.0)
    kernel.counts(7)
    assert memory.explain(77, 5.0).startswith(COUNTED)
    assert memory.explain(78, 5.0).startswith(COUNTED)
    assert memory.explain(79, 5.0) == ""


def test_a_count_that_rose_long_before_says_nothing_about_this_process(kernel: Kernel, memory: OutOfMemory) -> None:
    kernel.counts(6)
    memory.look(0.0)
    assert memory.explain(77, out_of_memory._MOMENT + 1) == ""


def test_a_process_that_the_log_names_is_counted_once(kernel: Kernel, memory: OutOfMemory) -> None:
    kernel.says(DONE.format(pid=77))
    kernel.counts(6)
    assert memory.explain(77, 0.0).startswith(NAMED)
    assert memory.explain(78, 0.0) == ""


def test_the_log_is_not_read_where_its_numbers_are_of_other_processes(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_memory, "_FIRST_NAMESPACE", "pid:[1]")
    with OutOfMemory(kernel.log, kernel.counter) as memory:
        kernel.says(DONE.format(pid=77))
        assert memory.explain(77, 0.0) == ""
        kernel.counts(6)
        assert memory.explain(77, 0.0).startswith(COUNTED)


def test_without_log_and_count_nothing_is_said(tmp_path: Path) -> None:
    with OutOfMemory(tmp_path / "no log", tmp_path / "no count") as memory:
        assert memory.explain(77, 0.0) == ""


@pytest.mark.parametrize(
    ("own", "files", "counter"),
    [
        ("0::/a/b\n", {"a/b/memory.events": "oom_kill 0\n", "a/memory.events": "oom_kill 0\n"}, "a/b/memory.events"),
        ("0::/not/here\n", {"memory.events": "oom_kill 0\n"}, "memory.events"),
        ("3:memory:/a\n", {"memory/a/memory.oom_control": "under_oom 0\noom_kill 0\n"}, "memory/a/memory.oom_control"),
        ("3:memory:/a\n", {"memory/a/memory.oom_control": "under_oom 0\n"}, None),  # Linux before 4.13
        ("0::/\n", {"cgroup.procs": ""}, None),
    ],
)
def test_the_count_is_that_of_the_own_group_and_else_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str], counter: str | None
) -> None:
    mine, groups = place(tmp_path, own, files)
    monkeypatch.setattr(out_of_memory, "control_groups", lambda name: control_groups(name, mine, groups))
    assert out_of_memory._find_counter() == (groups / counter if counter else Path("/proc/vmstat"))
