"""``launcher run``: start the cluster, train the job on it, and leave a run directory."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
from click.core import ParameterSource

from launcher.commands import completion
from launcher.commands.options import cluster_file, engine_option, place_of, tasks_here, with_engine
from launcher.commands.train.run_files import continues, named, placed, resumed
from launcher.contract.environment import DIRECTORY_KEY, RUN_KEY
from launcher.engines.engine import Engine, Request
from launcher.engines.run_key import find_key
from launcher.engines.table import find, load
from launcher.errors import UsageError
from launcher.host.inventory import take
from launcher.plan.placement import ports_needed
from launcher.plan.plan import Plan, TaskPlan
from launcher.rundir import RunFiles
from launcher.spec.file import ClusterFile, check_job
from launcher.terminal.printing import say, stream
from launcher.terminal.screen import TerminalScreen
from launcher.terminal.summary import headline, last_lines, print_last
from launcher.text import counted


def _moved(_: click.Context, __: click.Parameter, given: bool) -> None:
    if given:
        raise UsageError("--compose is now --on compose")


@click.command(epilog="Example: launcher run --set mode=async --set args.epochs=100")
@cluster_file
@engine_option
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
    help="Name the run's directory; an unfinished run of that name is continued. For launchers that share a directory.",
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
@click.option("--host", metavar="NAME", help="Run the tasks whose addresses are on this machine: --host node-a.")
@click.option(
    "--plan",
    "plan_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Start what this plan.json says, instead of placing a cluster file. For launchers that others start.",
)
@click.option("--compose", is_flag=True, hidden=True, expose_value=False, callback=_moved)
@click.option("--json", "as_json", is_flag=True, help="Print result.json at the end instead of the summary.")
@click.pass_context
def command(
    context: click.Context,
    file: Path,
    overrides: Sequence[str],
    on: str | None,
    resume: str | None,
    name: str | None,
    directory: Path | None,
    task: str | None,
    host: str | None,
    plan_file: Path | None,
    as_json: bool,
) -> None:
    """Start the cluster that FILE describes, train its job, and leave a run directory.

    Exit codes: 0 done; 1 the job failed; 2 the command line or the file is wrong; 3 the cluster could not form in time;
    130, 143 stopped by Ctrl-C, by SIGTERM.
    """
    began = time.monotonic()
    if plan_file:
        _refuse_beside_plan(with_engine(overrides, on), resume, context.get_parameter_source("file"))
    asked = _asked(file, with_engine(overrides, on), resume, plan_file, directory)
    engine = find(asked.file.spec.run.on)
    _refuse_parts(engine, asked.file.spec.run.on, task or host or directory)
    files = named(name, asked.file) if name and not resume else asked.files
    changed = bool(files and continues(files, asked.file.spec, again=bool(resume)))
    plan = asked.plan or _placed(engine, asked.file, task, host)
    here = tasks_here(plan, task, host) if engine.starts_parts else plan.tasks
    request = Request(
        plan=plan,
        tasks=here,
        cluster_file=asked.file.data,
        section=asked.file.sections[asked.file.spec.run.on],
        files=files,
        resumes=bool(resume),
        changed=changed,
        headline=headline(plan, counted(len(here), engine.noun)),
        screen=TerminalScreen((one.task for one in here), stream(err=as_json), prefixed=task is None),
        say=partial(say, err=True),
        began=began,
        key=find_key(plan_file or file) if engine.starts_parts and len(here) < len(plan.tasks) else "",
    )
    outcome = engine.run(request)
    told = [json.dumps(outcome.result.to_dict(), indent=2)] if as_json else last_lines(outcome, _elsewhere(plan, here))
    print_last(told)
    sys.exit(outcome.exit_code)


@dataclass(frozen=True)
class _Asked:
    """What is to run: a cluster file, the run that it continues, the plan that was made of it before."""

    file: ClusterFile
    files: RunFiles | None = None
    plan: Plan | None = None


def _asked(
    file: Path, overrides: Sequence[str], resume: str | None, plan_file: Path | None, directory: Path | None
) -> _Asked:
    if plan_file:
        plan, asked = placed(plan_file)
        if directory:
            plan = replace(plan, directory=str(directory.absolute()))
        return _Asked(replace(asked, directory=Path(plan.directory)), plan=plan)
    files, asked = resumed(resume, file, overrides) if resume else (None, load(file, overrides))
    return _Asked(replace(asked, directory=directory.absolute()) if directory else asked, files)


def _placed(engine: Engine, asked: ClusterFile, task: str | None, host: str | None) -> Plan:
    check_job(asked)
    return engine.plan(asked, take(ports_needed(asked.spec)), place_of(task, host))


def _refuse_parts(engine: Engine, name: str, part: object) -> None:
    if part and not engine.starts_parts:
        raise UsageError(f"--on {name} runs the whole cluster; leave --task, --host and --directory out")


def _refuse_beside_plan(overrides: Sequence[str], resume: str | None, file: ParameterSource | None) -> None:
    if overrides or resume or file is ParameterSource.COMMANDLINE:
        raise UsageError(
            "--plan: the plan was made before and does not change; leave FILE, --set, --on and --resume out"
        )


def _elsewhere(plan: Plan, here: Sequence[TaskPlan]) -> str:
    """Return where the results are, for a launcher that has only a part of the cluster; empty if they are here."""
    return "" if any(task.task == plan.leader for task in here) else f"the results are with {plan.leader}"
