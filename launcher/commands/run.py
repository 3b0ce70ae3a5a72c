"""``launcher run``: start the cluster, train the job on it, and leave a run directory."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from launcher.cluster.config import ClusterFile, check_job, load
from launcher.cluster.inventory import take
from launcher.cluster.placement import place_file, ports_needed
from launcher.cluster.plan import Plan, TaskPlan
from launcher.cluster.spec import check_name
from launcher.commands.options import cluster_file, network_of, tasks_here
from launcher.commands.screen import TerminalScreen, clock
from launcher.errors import UsageError
from launcher.rundir import RunFiles, read_json, write_json, write_whole
from launcher.supervise.events import Cause
from launcher.supervise.launch import Launch, ports_of
from launcher.supervise.logs import NoiseFilter
from launcher.supervise.network import held_ports
from launcher.supervise.result import Outcome, RunResult

_LAST_LINES = 5  # of a task's log, where it left no exception


@click.command(epilog="Example: launcher run --set mode=async --set args.epochs=100")
@cluster_file
@click.option(
    "--resume", metavar="RUN", help="Continue a run (its name, its path, or latest) from its last checkpoint."
)
@click.option(
    "--run",
    "name",
    metavar="NAME",
    envvar="LAUNCHER_RUN",
    show_envvar=True,
    help="Name the run's directory; an unfinished run of that name goes on. For launchers that share a directory.",
)
@click.option("--task", metavar="JOB:INDEX", help="Run exactly this task, in the foreground: --task worker:1.")
@click.option("--host", metavar="NAME", help="Run the tasks whose addresses lie on this machine: --host node-a.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json at the end instead of the summary.")
def command(
    file: Path,
    overrides: Sequence[str],
    resume: str | None,
    name: str | None,
    task: str | None,
    host: str | None,
    as_json: bool,
) -> None:
    """Start the cluster that FILE describes, train its job, and leave a run directory.

    Exit codes: 0 done; 1 the job failed; 2 the command line or the file is wrong; 3 the cluster could not form in time;
    130, 143 stopped by Ctrl-C, by SIGTERM.
    """
    began = time.monotonic()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no │ still works
    files, asked = _resumed(resume, file, overrides) if resume else (None, load(file, overrides))
    if name and not resume:
        files = _named(name, asked)
    if files:
        _leave_if_over(files, again=bool(resume))
    check_job(asked)
    plan = place_file(asked, take(ports_needed(asked.spec)))
    here = tasks_here(plan, task, host)
    network = network_of(asked)
    # Before the run gets a directory: a port that is in use means that nothing was started.
    with held_ports(ports_of(plan, here) if network == "host" else ()):
        output = asked.directory / asked.spec.run.output
        if files is None:
            files = RunFiles.create(output, asked.spec.name)
        elif not resume:
            files = RunFiles.join(output, files.name)
        _write_down(files, asked, plan, again=bool(resume))
        stream = sys.stderr if as_json else sys.stdout
        with TerminalScreen((task.task for task in here), stream, prefixed=task is None) as screen:
            launch = Launch(plan, here, files, screen, network=network, began=began)
            launch.say(_headline(plan, here))
            outcome = launch.run()
    _print(
        [json.dumps(outcome.result.to_dict(), indent=2)]
        if as_json
        else _summary(outcome, files, launch, _elsewhere(plan, here))
    )
    sys.exit(outcome.exit_code)


def _named(name: str, asked: ClusterFile) -> RunFiles:
    """Return the run of that name, there or not."""
    try:
        return RunFiles(asked.directory / asked.spec.run.output / check_name(name))
    except ValueError as error:
        raise UsageError(f"--run: {error}") from None


def _leave_if_over(files: RunFiles, *, again: bool) -> None:
    """End this launcher where the run has come to its end; ``again``: a run that has failed may be tried again."""
    result = files.read_result()
    if result and result["status"] == "done":
        click.echo(f"{files.name} is finished ({result['steps']} steps): nothing to do.")
        sys.exit(0)
    if result and result["status"] == "failed" and not again:
        # Whoever restarts a container must not repeat what starting again does not mend.
        retry = f"launcher run --resume {_shown(files.directory)} tries this one again"
        click.echo(f"{files.name} has failed before; another name starts a new run, {retry}", err=True)
        click.echo(f"{result['cause']['task']} failed: {result['cause']['error']}", err=True)
        sys.exit(result["exit_code"])


def _write_down(files: RunFiles, asked: ClusterFile, plan: Plan, *, again: bool) -> None:
    """Write what was asked and what was placed, unless another launcher of this run has."""
    if again or not files.plan.exists():
        write_whole(files.cluster_file, yaml.safe_dump(asked.data, sort_keys=False, allow_unicode=True))
        write_json(files.plan, plan.to_dict())


def _print(lines: Sequence[str]) -> None:
    try:
        click.echo("\n".join(lines))
    except OSError:
        sys.stdout = None  # nobody reads any more, and the interpreter must not try again at its exit


def _resumed(run: str, file: Path, overrides: Sequence[str]) -> tuple[RunFiles, ClusterFile]:
    """Find a run and load the cluster file that it was started with; paths start where they started then."""
    output = load(file, overrides).spec.run.output if file.exists() else "runs"
    files = RunFiles.find(file.parent / output, run)
    plan: dict[str, Any] = read_json(files.plan)
    asked = load(files.cluster_file, overrides)
    return files, dataclasses.replace(asked, directory=Path(plan["directory"]))


def _headline(plan: Plan, here: Sequence[TaskPlan]) -> str:
    tasks = "1 task" if len(here) == 1 else f"{len(here)} tasks"
    return f"{plan.spec.name}: {plan.spec.job}, {plan.spec.mode}, {tasks}, {plan.strategy}"


def _elsewhere(plan: Plan, here: Sequence[TaskPlan]) -> str:
    """Return where the results are, for a launcher that has only a part of the cluster; empty where they are here."""
    return "" if any(task.task == plan.leader for task in here) else f"the results are with {plan.leader}"


def _summary(outcome: Outcome, files: RunFiles, launch: Launch, elsewhere: str) -> list[str]:
    result, where = outcome.result, f"run directory: {_shown(files.directory)}"
    if result.status == "done":
        done = [f"done after {clock(result.wall_s)}; {elsewhere}"] if elsewhere else _achieved(result)
        return [*done, where]
    if outcome.cause is None:
        again = f"launcher run --resume {_shown(files.directory)}"
        return [f"stopped at step {result.steps} after {clock(result.wall_s)}; to go on: {again}", where]
    return [where, *_first_cause(outcome.cause, launch.log(outcome.cause.task))]


def _achieved(result: RunResult) -> list[str]:
    speed = f", {result.steps_per_s:,.0f} steps/s" if result.steps and result.steps_per_s else ""
    figures = [f"{name} {value:.5g}" for name, value in result.metrics.items() if isinstance(value, float)]
    done = f"done: {result.steps:,} steps in {clock(result.wall_s)}{speed}"
    return [done, f"  {'  '.join(figures)}"] if figures else [done]


def _first_cause(cause: Cause, log: Path) -> list[str]:
    """Return the first cause as the screen shows it last: task, error, the user's code, where to read on."""
    code = [f"  {line}" for line in (cause.record or {}).get("code", [])]
    if cause.record is None:
        code = [f"  {line}" for line in _last_lines(log)]
    return [f"{cause.task} failed: {cause.error}", *code, f"  full log: {_shown(log)}"]


def _last_lines(log: Path) -> list[str]:
    if not log.exists():
        return []
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    noise = NoiseFilter()
    return [line for line in lines if not noise.is_noise(line) and line.strip()][-_LAST_LINES:]


def _shown(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
