"""The memory that tasks need to start."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.host.inventory import Memory
from launcher.plan.memory import compared, need, room, tasks_on_one_host
from tests.unit.plan.machines import machine, placed


@pytest.mark.parametrize(
    ("cluster", "tasks"),
    [
        ({"worker": 1}, 1),
        ({"worker": 3, "evaluator": 1}, 4),
        ({"worker": 2, "ps": 1}, 4),  # and the chief
        ({"worker": {"addresses": ["node-a:1", "node-b:1"]}}, 1),
        ({"worker": {"addresses": ["node-a:1", "node-b:1", "node-b:2"]}}, 2),
    ],
)
def test_the_tasks_of_the_fullest_host_count(cluster: dict[str, Any], tasks: int) -> None:
    mode = "async" if "ps" in cluster else "sync"
    assert tasks_on_one_host(placed(machine(), mode, **cluster)) == tasks


@pytest.mark.parametrize("tasks", [1, 2, 7, 100])
def test_as_many_tasks_have_room_as_the_memory_that_they_need_is_free(tasks: int) -> None:
    assert room(Memory(1 << 50, need(tasks))) == tasks
    assert room(Memory(1 << 50, need(tasks) - 1)) == tasks - 1


def test_no_memory_has_room_for_no_task() -> None:
    assert room(Memory(1 << 30, 0)) == 0


def test_one_task_needs_and_several_need() -> None:
    there = Memory(1 << 30, 1 << 29)
    assert compared(1, there).startswith("1 task needs about 595 MiB to start, ")
    assert compared(2, there).startswith("2 tasks need about 825 MiB to start, ")
