"""The arguments that verbs share, and what they mean for a plan."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from launcher.commands import completion
from launcher.contract.environment import SET_KEY
from launcher.contract.task import Task
from launcher.engines.table import ENGINES
from launcher.errors import UsageError, did_you_mean
from launcher.plan.placement import hosts
from launcher.plan.plan import Plan, TaskPlan
from launcher.spec.file import DEFAULT_FILE, no_engine
from launcher.spec.model import JobSpec
from launcher.spec.mounted_path import mounted_path
from launcher.spec.yaml.writer import in_one_line

Command = TypeVar("Command", bound=Callable[..., Any])


def cluster_file(function: Command) -> Command:
    """Add the path of the cluster file (``file``) and ``--set KEY=VALUE`` (``overrides``)."""
    argument = click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_FILE, required=False)
    return argument(overrides_option(function))


def path_to_write(_: click.Context, parameter: click.Parameter, given: Path | None) -> Path | None:
    """Return a path to write to, by the rule of ``run.output``: expanded or refused, never a file of that name."""
    try:
        return None if given is None else Path(mounted_path(str(given)))
    except ValueError as error:
        raise UsageError(f"{parameter.opts[0]}: {error}") from None


def overrides_option(function: Command) -> Command:
    """Add ``--set KEY=VALUE`` (``overrides``)."""
    return click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        callback=_with_environment,
        shell_complete=completion.assignments,
        help="Change a key of the file for this call, dotted: --set cluster.worker.tasks=3. Repeatable; "
        f"{SET_KEY} in the environment holds more of them, a line each.",
    )(function)


def engine_option(function: Command) -> Command:
    """Add ``--on ENGINE``, which is short for ``--set run.on=ENGINE``."""
    return click.option(
        "--on",
        metavar="ENGINE",
        callback=_known_engine,
        shell_complete=completion.engines,
        help=f"What starts the tasks, instead of run.on of the file: {', '.join(ENGINES)}.",
    )(function)


def with_engine(overrides: Sequence[str], on: str | None) -> Sequence[str]:
    """Return what ``--set`` and ``--on`` change together."""
    return overrides if on is None else (*overrides, f"run.on={on}")


def _known_engine(_: click.Context, __: click.Parameter, given: str | None) -> str | None:
    if given is not None and given not in ENGINES:
        raise UsageError(f"--on: {no_engine(given, ENGINES)}")
    return given


def _with_environment(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    return (*filter(None, os.environ.get(SET_KEY, "").split("\n")), *given)


def place_of(task: str | None, host: str | None) -> Task | str | None:
    """Return what ``--task`` or ``--host`` says of the machine that this is; UsageError if it names no task."""
    return task_named(task) if task is not None else host


def task_named(name: str) -> Task:
    """Return the task of that name; UsageError if it is none."""
    try:
        return Task.parse(name)
    except ValueError as error:
        raise UsageError(f"--task: {error}") from None


def planned(plan: Plan, name: str) -> TaskPlan:
    """Return the task that ``--task`` names; UsageError if it does not start."""
    task = task_named(name)
    if found := plan.find(task):
        return found
    for idle in plan.idle:
        if idle.task == task:
            raise UsageError(f"--task: {task} does not start: {idle.reason}")
    known = [str(there.task) for there in plan.tasks]
    raise UsageError(f"--task: the plan has no {name}{did_you_mean(name, known, 'tasks')}")


def tasks_here(plan: Plan, task: str | None = None, host: str | None = None) -> list[TaskPlan]:
    """Return the tasks that this launcher starts; UsageError instead of a guess."""
    if task is not None:
        return reachable(plan, [planned(plan, task)])
    if host is not None:
        return reachable(plan, _on_host(plan, host))
    several = hosts(plan)
    if len(several) > 1:
        each = "\n".join(f"  launcher run --host {name}" for name in several)
        raise UsageError(f"the tasks are on {len(several)} machines; start on each of them its part:\n{each}")
    return list(plan.tasks)


def reachable(plan: Plan, here: list[TaskPlan]) -> list[TaskPlan]:
    """Return a part of a plan's tasks; UsageError if another call of the launcher would place the rest elsewhere."""
    part = plan.rendezvous and len(here) < len(plan.tasks)
    if part and any(not _has_addresses(plan, job) for job in plan.cluster):
        lines = "\n".join(f"  {job}: {_with_addresses(plan, job)}" for job in plan.cluster)
        raise UsageError(
            "a part of a cluster needs addresses in the cluster file, since each call would choose its own ports; "
            f"write all of them, like these that are free here now:\ncluster:\n{lines}"
        )
    return here


def _has_addresses(plan: Plan, job: str) -> bool:
    """Whether the addresses of a job come from the file alone; those of a chief that was added come from worker's."""
    asked = dict(plan.spec.cluster.items())
    return bool((asked.get(job) or asked.get("worker") or JobSpec()).addresses)


def _with_addresses(plan: Plan, job: str) -> str:
    asked = dict(plan.spec.cluster.items()).get(job)
    rest = asked.model_dump(exclude_defaults=True, exclude={"tasks", "port", "addresses"}) if asked else {}
    addresses = list(plan.cluster[job])
    return in_one_line({"addresses": addresses, **rest} if rest else addresses)


def _on_host(plan: Plan, host: str) -> list[TaskPlan]:
    here = [task for task in plan.tasks if task.host == host]
    if not here:
        raise UsageError(f"--host: no task is on {host}{did_you_mean(host, hosts(plan), 'hosts')}")
    return here
