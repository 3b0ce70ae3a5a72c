"""``launcher plan``: what would start where, and what would not, and why."""

from __future__ import annotations

import json
import shlex
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import click

from launcher.commands import completion
from launcher.commands.options import cluster_file, engine_option, planned, reachable, with_engine
from launcher.engines.table import find, load
from launcher.host.inventory import Inventory, take
from launcher.plan.memory import compared, importing, room, tasks_on_one_host
from launcher.plan.placement import hosts, ports_needed
from launcher.plan.plan import Idle, Plan, TaskPlan
from launcher.terminal.device_map import device_map, ranges, shown
from launcher.terminal.printing import give, on_terminal, say, styled
from launcher.text import one_line, plural

_INDENT = 13  # of what stands beside a bold word under the table


@click.command()
@cluster_file
@engine_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option(
    "--task",
    metavar="JOB:INDEX",
    shell_complete=completion.tasks,
    help="Print this task's environment, ready to paste into a shell.",
)
def command(file: Path, overrides: Sequence[str], on: str | None, as_json: bool, task: str | None) -> None:
    """Show what FILE would start where on this machine, what it would not, and why. Nothing is started.

    \b
    Examples:
      launcher plan --set mode=async
      launcher plan --on compose
      eval "$(launcher plan --task worker:1)"
    """
    asked = load(file, with_engine(overrides, on))
    engine, inventory = find(asked.spec.run.on), take(ports_needed(asked.spec))
    plan = engine.plan(asked, inventory)
    if task is not None:
        chosen = planned(plan, task)
        variables = plan.environment(reachable(plan, [chosen])[0] if engine.starts_parts else chosen)
        values = dict(sorted(variables.items()))
        give(json.dumps(values, indent=2) if as_json else exports(values))
    elif as_json:
        give(json.dumps(plan.to_dict(), indent=2))
    else:
        network = engine.network(plan, asked.sections[asked.spec.run.on])
        _show(plan, inventory, plan if engine.starts_parts else _on_this_machine(plan), network)


def exports(variables: dict[str, str]) -> str:
    """Return the variables as lines that any POSIX shell takes."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def devices(plan: TaskPlan) -> str:
    """Return what a task computes on, as a person says it: ``core 0``, ``2 cores, GPU 0``."""
    words = [f"{plural(len(plan.cores), 'core')} {shown(plan.cores)}" if plan.cores else "any core"]
    if plan.gpus:
        words.append(f"{plural(len(plan.gpus), 'GPU')} {ranges(plan.gpus)}")
    several = len(plan.gpus) > 1
    if (plan.virtual_devices or 1) > 1:
        size = f" of {plan.gpu_memory} MiB" if plan.gpus else ""
        words.append(f"{'each ' if several else ''}as {plan.virtual_devices} devices{size}")
    elif plan.gpu_memory:
        words.append(f"{plan.gpu_memory} MiB of {'each' if several else 'it'}")
    return ", ".join(words)


def _on_this_machine(plan: Plan) -> Plan:
    """Return the plan as the map shows it if addresses are names that only the engine knows."""
    return replace(plan, tasks=tuple(replace(task, address="") for task in plan.tasks))


def _show(plan: Plan, inventory: Inventory, drawn: Plan, network: str) -> None:
    say(styled(plan.spec.name, bold=True), f": {plan.spec.mode}, job {plan.spec.job}")
    say()
    for line in table(plan):
        say(line)
    say()
    for line in device_map(drawn, inventory):
        say(line)
    say()
    for name, text in (*_notes(drawn, inventory), *([("network", network)] if network else [])):
        first, *further = _wrapped(one_line(text))
        say(styled(f"{name:<{_INDENT}}", bold=True), first)
        for line in further:
            say(" " * _INDENT, line)


def table(plan: Plan) -> Iterator[str]:
    """Yield a line for each task, in columns as wide as they must be: no cell is ever cut or broken."""
    rows = [("task", "address", "role", "devices", "strategy")]
    for task in plan.tasks:
        strategy = plan.strategy if task.role.joins_cluster else "-"
        rows.append((str(task.task), task.address or "-", task.role, devices(task), strategy))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield line if number else styled(line, bold=True)


def _wrapped(text: str) -> Sequence[str]:
    # A person reads on a terminal as wide as it is; a program wants one line.
    if not on_terminal():
        return [text]
    width = max(40, shutil.get_terminal_size().columns - _INDENT)
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _notes(plan: Plan, inventory: Inventory) -> Iterator[tuple[str, str]]:
    for name, reason in _idle(plan.idle):
        yield "not started", f"{name}: {reason}"
    yield "strategy", f"{plan.strategy}: {plan.reason}"
    if inventory.gpu_note:
        yield "GPUs", inventory.gpu_note if inventory.gpus else f"none ({inventory.gpu_note})"
    if len(hosts(plan)) < 2 and (idle := _idle_gpus(plan, inventory)):
        yield "idle GPUs", idle
    if inventory.core_note:
        yield "cores", inventory.core_note
    who = importing(plan, together=find(plan.spec.run.on).starts_parts)
    if inventory.memory and (tasks := tasks_on_one_host(plan)) > room(inventory.memory, who):
        yield "memory", compared(tasks, inventory.memory, who)
    if len(several := hosts(plan)) > 1:
        start = f"each starts its part: launcher run --host {several[0]}"
        yield "machines", f"{', '.join(several)}, drawn as if each were like this one; {start}"
        yield "rendezvous", f"{plan.rendezvous}, held by {plan.leader}: a port that the others must reach as well"
    if any(task.address and int(task.address.rpartition(":")[2]) in inventory.ports for task in plan.tasks):
        yield "ports", "free ones, chosen again at each start; port or addresses in the file fix them"


def _idle_gpus(plan: Plan, inventory: Inventory) -> str:
    """Return which GPUs nobody has and, unless the file asks for it, why; empty for none."""
    given = {gpu for task in plan.tasks for gpu in task.gpus}
    idle = [gpu.id for gpu in inventory.gpus if gpu.id not in given]
    auto = {job for job, spec in plan.spec.cluster.items() if spec.gpus == "auto"}
    divided = sum(task.task.job in auto and task.trains for task in plan.tasks)
    if not idle or not divided:
        return ranges(idle)
    remedy = "" if given else f"; write fewer tasks, or let them share one: gpus: [{idle[0]}] with gpu_memory"
    return f"{ranges(idle)}: gpus: auto divides evenly, here among {divided} tasks{remedy}"


def _idle(tasks: Iterable[Idle]) -> Iterator[tuple[str, str]]:
    for (job, reason), group in groupby(tasks, lambda idle: (idle.task.job, idle.reason)):
        indices = [idle.task.index for idle in group]
        yield f"{job}:{ranges(indices)}", reason
