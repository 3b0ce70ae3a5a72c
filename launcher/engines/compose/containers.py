"""A plan whose tasks are in containers: addresses by the names of services, devices as this host deals them out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from launcher.contract.args import job_module
from launcher.contract.roles import Role
from launcher.errors import Problem, SpecError
from launcher.host.inventory import Inventory
from launcher.plan.gpus import shared_gpus
from launcher.plan.placement import place, place_file
from launcher.plan.plan import Plan, TaskPlan
from launcher.spec.file import ClusterFile
from launcher.spec.job_source import ROOT, find_installed, search_path
from launcher.spec.model import Cluster, JobSpec, split_address
from launcher.spec.rules import is_loopback

# Where a container finds what it shares with the host.
DIRECTORY, RUNS = "/cluster", "/runs"
PORT = 2222  # TensorFlow's own examples have it; each container has an address, so all tasks can have the same
_OUTSIDE = 5.0  # seconds of run.grace for what the engine does once the launchers in the containers have ended
_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")


def plan_containers(file: ClusterFile, inventory: Inventory) -> Plan:
    """Place a cluster file's tasks in containers of this host; SpecError names the lines of what cannot be."""
    refuse_what_containers_cannot(file)
    try:
        return containerised(place_file(file, inventory))
    except SpecError as error:
        raise file.blame(error) from None


def containerised(plan: Plan) -> Plan:
    """Return the plan with each task in a container of its own, on the cores and GPUs that this host gives to it.

    SpecError if two tasks share a GPU: a launcher that sees one task alone would not know of it.
    """
    for gpu in shared_gpus({task.task: task.gpus for task in plan.tasks}):
        first, second, *_ = (task.task for task in plan.tasks if gpu in task.gpus)
        message = f"{first} and {second} share GPU {gpu}; in containers each task needs a GPU of its own"
        raise SpecError([Problem("", f"cluster.{second.job}.gpus", message)])
    jobs = {task.task.job: _job(plan, task) for task in plan.tasks}
    jobs |= {idle.task.job: JobSpec(tasks=0) for idle in plan.idle}
    spec = plan.spec.model_copy(update={"cluster": Cluster(**jobs)})
    inside = place(spec, Inventory(hostname="", cores=()), plan.directory, here="")
    tasks = (replace(task, cores=mine.cores, gpus=mine.gpus) for task, mine in _pairs(inside, plan))
    return replace(inside, tasks=tuple(tasks), idle=plan.idle)


def inside(plan: Plan) -> Plan:
    """Return a containerised plan as the launchers in the containers read it: with paths and GPUs as they see them."""
    asked = plan.spec.run
    grace = max(asked.grace / 2, asked.grace - _OUTSIDE)
    run = asked.model_copy(update={"on": "local", "output": RUNS, "grace": grace, "keep_warm": None})
    # The engine shows each container no other GPUs than its own.
    tasks = tuple(replace(task, gpus=tuple(range(len(task.gpus)))) for task in plan.tasks)
    return replace(plan, spec=plan.spec.model_copy(update={"run": run}), directory=DIRECTORY, tasks=tasks)


def refuse_what_containers_cannot(file: ClusterFile) -> None:
    """Raise SpecError with everything in the file that means another thing, or nothing, inside containers."""
    problems = [*_written_addresses(file), *_job_outside(file), *_paths_outside(file)]
    if problems:
        raise SpecError(problems)


def _job(plan: Plan, first: TaskPlan) -> JobSpec:
    """Return a job as it is asked for in containers; ``first`` is any of its tasks."""
    name = first.task.job
    asked: JobSpec = getattr(plan.spec.cluster, name) or JobSpec()
    tasks = [task for task in plan.tasks if task.task.job == name]
    addresses = tuple(f"{task.task.slug}:{asked.port or PORT}" for task in tasks)
    update: dict[str, Any] = {"tasks": len(tasks), "addresses": addresses, "port": None}
    if first.role.computes_gradients:
        update["gpus"] = len(first.gpus)  # inside, they are numbered from 0
    if asked.cpus is None:
        # A container that is not pinned sees more cores than are meant for its task alone.
        update["env"] = {**asked.env, **{key: (first.environment or {})[key] for key in _threads(plan, name)}}
    return asked.model_copy(update=update)


def _threads(plan: Plan, job: str) -> Sequence[str]:
    trains = any(task.role in (Role.TRAIN, Role.EVALUATE) for task in plan.tasks if task.task.job == job)
    return (*_THREADS, "TF_NUM_INTEROP_THREADS") if trains else _THREADS


def _pairs(inside: Plan, outside: Plan) -> Iterator[tuple[TaskPlan, TaskPlan]]:
    for task in inside.tasks:
        mine = outside.find(task.task)
        assert mine is not None  # the same tasks start
        yield task, mine


def _written_addresses(file: ClusterFile) -> Iterator[Problem]:
    for name, job in file.spec.cluster.items():
        for index, address in enumerate(job.addresses):
            if not is_loopback(split_address(address)[0]):
                key = f"cluster.{name}.addresses"
                message = (
                    f"{address} is a real machine, and a container gets a name of its own ({name}-{index}); write "
                    f"{name}: {job.tasks} for containers, or start each machine's part with launcher run --host"
                )
                yield Problem(file.locate(key), key, message)
                break


def _job_outside(file: ClusterFile) -> Iterator[Problem]:
    place = _source(file)
    if place and not _is_seen(place, file.directory):
        message = f"is at {place}, which containers do not see; move it below {file.directory}"
        yield Problem(file.locate("job"), "job", message)
    elif Path(file.spec.job).is_absolute():
        yield Problem(file.locate("job"), "job", _elsewhere_inside(file.spec.job, file.directory))


def _source(file: ClusterFile) -> Path | None:
    if file.spec.job.endswith(".py"):
        return file.directory / file.spec.job
    package = job_module(file.spec.job).partition(".")[0]
    if package == "jobs":
        return _bundled(file)
    found = PathFinder.find_spec(package, search_path(file.directory)) or find_installed(package)
    return Path(found.origin or next(iter(found.submodule_search_locations or ("",)))) if found else None


def _bundled(file: ClusterFile) -> Path | None:
    # jobs/ is a namespace that several directories may add to.
    package = PathFinder.find_spec("jobs", search_path(file.directory))
    name = job_module(file.spec.job).split(".")[1]
    found = PathFinder.find_spec(name, list(package.submodule_search_locations or ())) if package else None
    return Path(found.origin) if found and found.origin else None


def _paths_outside(file: ClusterFile) -> Iterator[Problem]:
    for key, value in _texts("args", file.spec.args):
        path = file.directory / value
        if not ("/" in value or "\\" in value) or not _exists(path):
            continue
        if not _is_below(path, file.directory):
            message = f"{value} is outside {file.directory}, which is all that containers see; put it there"
            yield Problem(file.locate(key), key, message)
        elif Path(value).is_absolute():
            yield Problem(file.locate(key), key, _elsewhere_inside(value, file.directory))


def _elsewhere_inside(path: str, directory: Path) -> str:
    return f"{path} is elsewhere inside a container; write {os.path.relpath(path, directory)}"


def _texts(key: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield every string inside the value, each with its dotted key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, child in value.items():
            yield from _texts(f"{key}.{name}", child)
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from _texts(f"{key}.{index}", child)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a text that is no path at all
        return False


def _is_seen(path: Path, directory: Path) -> bool:
    return any(_is_below(path, place) for place in (directory, ROOT / "jobs", ROOT / "launcher"))


def _is_below(path: Path, directory: Path) -> bool:
    return path.resolve().is_relative_to(directory.resolve())
