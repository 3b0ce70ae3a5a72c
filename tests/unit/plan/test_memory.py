"""The memory that tasks need to start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from launcher.host.inventory import Memory
from launcher.plan.memory import EACH, ONE, Import, compared, importing, need, room, tasks_on_one_host
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


@pytest.mark.parametrize("who", [ONE, EACH])
@pytest.mark.parametrize("tasks", [1, 2, 7, 100])
def test_as_many_tasks_have_room_as_the_memory_that_they_need_is_free(tasks: int, who: Import) -> None:
    assert room(Memory(1 << 50, need(tasks, who)), who) == tasks
    assert room(Memory(1 << 50, need(tasks, who) - 1), who) == tasks - 1


@pytest.mark.parametrize("who", [ONE, EACH])
def test_no_memory_has_room_for_no_task(who: Import) -> None:
    assert room(Memory(1 << 30, 0), who) == 0


def test_one_task_needs_and_several_need_an_import_each_or_one_for_all() -> None:
    there = Memory(1 << 30, 1 << 29)
    each, one = "an import of TensorFlow each", "one import of TensorFlow for all"
    assert compared(1, there, EACH).startswith(f"1 task needs about 595 MiB to start, with {each}; ")
    assert compared(2, there, EACH).startswith(f"2 tasks need about 825 MiB to start, with {each}; ")
    assert compared(2, there, ONE).startswith(f"2 tasks need about 725 MiB to start, with {one}; ")


def test_tasks_that_one_launcher_may_fork_share_an_import() -> None:
    plan = placed(machine(), "sync", worker=2)
    run = plan.spec.run.model_copy(update={"start_method": "spawn"})
    spawned = replace(plan, spec=plan.spec.model_copy(update={"run": run}))
    assert importing(plan, together=True) is ONE
    assert importing(plan, together=False) is importing(spawned, together=True) is EACH
