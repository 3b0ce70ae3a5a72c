"""The memory that a plan's tasks need to start, compared with what a host has free."""

from __future__ import annotations

from collections import Counter

from launcher.host.inventory import Memory
from launcher.plan.plan import Plan
from launcher.spec.rules import machine
from launcher.text import counted, size

# Bytes. Measured on 2026-11-28 with TensorFlow 2.21 on x86-64, two workers of linear_regression at their first report:
# 592 MiB resident each, of which 364 MiB are pages of files, mostly libraries, that all tasks of a host share.
_OWN, _SHARED = 230 << 20, 365 << 20


def tasks_on_one_host(plan: Plan) -> int:
    """Return how many of the plan's tasks start on the same machine, on the one that has most of them."""
    known = Counter(machine(task.host) for task in plan.tasks if task.host)
    return max(known.values()) if len(known) > 1 else len(plan.tasks)


def need(tasks: int) -> int:
    """Return the bytes that so many tasks need to start on one host, before they load data or make a model."""
    return _SHARED + tasks * _OWN


def room(memory: Memory) -> int:
    """Return how many tasks can start in the memory that is free."""
    return max(0, memory.available - _SHARED) // _OWN


def compared(tasks: int, memory: Memory) -> str:
    """Return what so many tasks need to start and what there is, in words.

    With less they may start all the same: the kernel may have swap, and other programs may give memory back.
    """
    verb = "needs" if tasks == 1 else "need"
    wanted = f"{counted(tasks, 'task')} {verb} about {size(need(tasks))} to start, with an import of TensorFlow each"
    return f"{wanted}; {size(memory.available)} is free ({memory.bound})"
