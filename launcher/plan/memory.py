"""The memory that a plan's tasks need to start, compared with what a host has free."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from launcher.host.inventory import Memory
from launcher.plan.plan import Plan
from launcher.spec.rules import machine
from launcher.text import counted, size


@dataclass(frozen=True)
class Import:
    """The memory, in bytes, of a host's tasks at their start, by who imports TensorFlow."""

    shared: int  # by all tasks of the host
    own: int  # each task's
    words: str


# Measured on 2026-11-28 with TensorFlow 2.21 on x86-64, at the first report of linear_regression. Of two new processes
# each was 592 MiB resident, of which 364 MiB were pages of files, mostly libraries, that all tasks of a host share. The
# process that forks tasks was 531 MiB; with eight tasks of it, all nine were 1,280 MiB (PSS).
EACH = Import(365 << 20, 230 << 20, "an import of TensorFlow each")
ONE = Import(535 << 20, 95 << 20, "one import of TensorFlow for all")


def importing(plan: Plan, *, together: bool) -> Import:
    """Return who imports TensorFlow; ``together``: one launcher starts all tasks of a host, and may fork them."""
    return ONE if together and plan.spec.run.start_method != "spawn" else EACH


def tasks_on_one_host(plan: Plan) -> int:
    """Return how many of the plan's tasks start on the same machine, on the one that has most of them."""
    known = Counter(machine(task.host) for task in plan.tasks if task.host)
    return max(known.values()) if len(known) > 1 else len(plan.tasks)


def need(tasks: int, who: Import) -> int:
    """Return the bytes that so many tasks need to start on one host, before they load data or make a model."""
    return who.shared + tasks * who.own


def room(memory: Memory, who: Import) -> int:
    """Return how many tasks can start in the memory that is free."""
    return max(0, memory.available - who.shared) // who.own


def compared(tasks: int, memory: Memory, who: Import) -> str:
    """Return what so many tasks need to start and what there is, in words.

    With less they may start all the same: the kernel may have swap, and other programs may give memory back.
    """
    verb = "needs" if tasks == 1 else "need"
    wanted = f"{counted(tasks, 'task')} {verb} about {size(need(tasks, who))} to start, with {who.words}"
    return f"{wanted}; {size(memory.available)} is free ({memory.bound})"
