"""Edits of how many tasks a job has, and of their addresses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launcher.errors import UsageError
from launcher.spec.edit.key_edits import append, set_key, unset_key, value
from launcher.spec.file import ClusterFile, Engines, check
from launcher.spec.model import JobSpec


def add_tasks(
    text: str, file: Path, job: str, addresses: Sequence[str], count: int, engines: Engines | None = None
) -> str:
    """Return the text with one more task at each address, or with ``count`` more; problems name ``file``."""
    there = _job(check(text, file, engines=engines), job)
    if number := next((word for word in addresses if word.isdecimal()), None):
        raise UsageError(f"{number!r} is not an address; to add {number} tasks: config add {job} --count {number}")
    if addresses:
        return _with_addresses(text, job, there, addresses)
    if there and there.addresses:
        raise UsageError(
            f"the tasks of {job} have addresses; give those of the new tasks: config add {job} node-c:2222"
        )
    return _with_tasks(text, job, (there.tasks if there else 0) + count)


def _with_addresses(text: str, job: str, there: JobSpec | None, addresses: Sequence[str]) -> str:
    if there and there.tasks and not there.addresses:
        listed = f"[{', '.join([*(f'HOST-{i}:PORT' for i in range(there.tasks)), *addresses])}]"
        set_all = f"'cluster.{job}={listed}'"
        if isinstance(value(text, ["cluster", job]), dict):  # whose other keys stay
            number = there.tasks + len(addresses)
            set_all = f"'cluster.{job}.addresses={listed}' cluster.{job}.tasks={number}"
        raise UsageError(
            f"{job} is a number of tasks here ({there.tasks}); tasks with addresses need one each: config set {set_all}"
        )
    return append(text, _addresses_key(text, job), addresses)


def remove_tasks(text: str, file: Path, job: str, index: int | None, count: int, engines: Engines | None = None) -> str:
    """Return the text without the task of that index, or (None) without the last ``count`` tasks."""
    there = _job(check(text, file, engines=engines), job)
    tasks, what = there.tasks if there else 0, job if index is None else f"{job}:{index}"
    if there is None or not tasks or (index or 0) >= tasks:
        has = f"{job}:0 to {job}:{tasks - 1}" if tasks > 1 else f"{job}:0" if tasks else f"no {job}"
        raise UsageError(f"there is no {what} to remove: the cluster has {has}")
    gone = list(range(tasks - count, tasks)) if index is None else [index]
    if gone[0] < 0:
        raise UsageError(f"the cluster has {tasks} {job} tasks, and --count {count} is more")
    if job == "worker" and len(gone) == tasks:
        raise UsageError(f"{what} is the last worker, and a cluster needs at least one")
    return _without_tasks(text, job, there, gone)


def _without_tasks(text: str, job: str, there: JobSpec, gone: Sequence[int]) -> str:
    if len(gone) == there.tasks:
        return unset_key(text, ["cluster", job])
    if not there.addresses:
        return _with_tasks(text, job, there.tasks - len(gone))
    for index in reversed(gone):
        text = unset_key(text, [*_addresses_key(text, job), str(index)])
    return text


def _with_tasks(text: str, job: str, tasks: int) -> str:
    written = value(text, ["cluster", job])
    keys = ["cluster", job, "tasks"] if isinstance(written, dict) else ["cluster", job]
    return set_key(text, keys, str(tasks))


def _addresses_key(text: str, job: str) -> list[str]:
    written = value(text, ["cluster", job])
    return ["cluster", job, "addresses"] if isinstance(written, dict) else ["cluster", job]


def _job(file: ClusterFile, job: str) -> JobSpec | None:
    found: JobSpec | None = getattr(file.spec.cluster, job)
    return found
