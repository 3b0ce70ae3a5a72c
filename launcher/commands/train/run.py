"""``launcher run``: start the cluster, train the job on it, and leave a run directory."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from launcher.commands import completion
from launcher.commands.options import cluster_file, network_of, place_of, tasks_here
from launcher.commands.train.run_files import goes_on, named, prepared, resumed, write_down
from launcher.contract.environment import DIRECTORY_KEY, RUN_KEY
from launcher.engines.local.launch import Launch
from launcher.engines.local.ports import HeldPorts, ports_of
from launcher.engines.run_lock import locked
from launcher.errors import UsageError
from launcher.host.inventory import take
from launcher.plan.placement import place_file, ports_needed
from launcher.plan.plan import Plan, TaskPlan
from launcher.rundir import RunFiles
from launcher.spec.file import check_job, load
from launcher.supervise.result import Outcome
from launcher.terminal.screen import TerminalScreen, clock
from launcher.terminal.summary import achieved, first_cause, headline, print_last, run_directory, stopped
from launcher.text import counted

_WAY_OUT = (
    "this run's network is its own and reaches nothing outside; --set run.network=host lets the job out "
    "(and the tasks' ports are open to this host's network)"
)


@click.command(epilog="Example: launcher run --set mode=async --set args.epochs=100")
@cluster_file
@click.option(
    "--resume",
    metavar="RUN",
    shell_complete=completion.runs,
    help="Continue a run (its name, its path, or latest) from its last checkpoint.",
)
@click.option(
    "--run",
    "name",
    metavar="NAME",
    envvar=RUN_KEY,
    show_envvar=True,
    help="Name the run's directory; an unfinished run of that name goes on. For launchers that share a directory.",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    envvar=DIRECTORY_KEY,
    show_envvar=True,
    help="Where relative paths of FILE start: its own directory, unless given.",
)
@click.option(
    "--task",
    metavar="JOB:INDEX",
    shell_complete=completion.tasks,
    help="Run exactly this task, in the foreground: --task worker:1.",
)
@click.option("--host", metavar="NAME", help="Run the tasks whose addresses lie on this machine: --host node-a.")
@click.option("--compose", is_flag=True, help="Run each task in a container of this machine, with docker compose.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json at the end instead of the summary.")
def command(
    file: Path,
    overrides: Sequence[str],
    resume: str | None,
    name: str | None,
    directory: Path | None,
    task: str | None,
    host: str | None,
    compose: bool,
    as_json: bool,
) -> None:
    """Start the cluster that FILE describes, train its job, and leave a run directory.

    Exit codes: 0 done; 1 the job failed; 2 the command line or the file is wrong; 3 the cluster could not form in time;
    130, 143 stopped by Ctrl-C, by SIGTERM.
    """
    began = time.monotonic()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no │ still works
    if compose:
        from launcher.commands.train.containers import run_in_containers

        _refuse_parts(task or host or directory)
        sys.exit(run_in_containers(file, overrides, resume, name, as_json=as_json))
    files, asked = resumed(resume, file, overrides) if resume else (None, load(file, overrides))
    if directory:
        asked = replace(asked, directory=directory.absolute())
    if name and not resume:
        files = named(name, asked)
    again = bool(files and goes_on(files, asked.spec, again=bool(resume))) or bool(resume)
    check_job(asked)
    plan = place_file(asked, take(ports_needed(asked.spec)), place_of(task, host))
    here = tasks_here(plan, task, host)
    network = network_of(asked)
    # Before the run gets a directory: a port that is in use means that nothing was started.
    with HeldPorts() as ports:
        if network == "host":
            ports.hold(ports_of(plan, here))
        files = prepared(files, asked, again=again)
        with locked(files, [task.task for task in here], partial(click.echo, err=True)) as locks:
            write_down(files, asked, plan, again=again)
            stream = sys.stderr if as_json else sys.stdout
            with TerminalScreen((task.task for task in here), stream, prefixed=task is None) as screen:
                launch = Launch(plan, here, files, screen, network=network, ports=ports, began=began, locks=locks)
                outcome = launch.run(headline(plan, counted(len(here), "task")))
    told = _summary(outcome, files, launch, _elsewhere(plan, here))
    print_last([json.dumps(outcome.result.to_dict(), indent=2)] if as_json else told)
    sys.exit(outcome.exit_code)


def _refuse_parts(part: object) -> None:
    if part:
        raise UsageError("--compose runs the whole cluster; leave --task, --host and --directory out")


def _elsewhere(plan: Plan, here: Sequence[TaskPlan]) -> str:
    """Return where the results are, for a launcher that has only a part of the cluster; empty where they are here."""
    return "" if any(task.task == plan.leader for task in here) else f"the results are with {plan.leader}"


def _summary(outcome: Outcome, files: RunFiles, launch: Launch, elsewhere: str) -> list[str]:
    result, where = outcome.result, run_directory(files.directory)
    if result.status == "done":
        return [f"done after {clock(result.wall_s)}; {elsewhere}"] if elsewhere else [*achieved(result), where]
    if outcome.cause is None and elsewhere:
        return [f"stopped after {clock(result.wall_s)}; {elsewhere}"]
    if outcome.cause is None:
        return [stopped(result, files), where]
    return [where, *first_cause(outcome.cause, launch.log(outcome.cause.task), _WAY_OUT if launch.is_private else "")]
