"""``launcher config init``: a first cluster file, from a few questions, with the plan that results."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from launcher.commands.options import path_to_write
from launcher.commands.setup.config_files import replace, resolve_links, write_new
from launcher.commands.train.plan import table
from launcher.engines.table import SECTIONS, find
from launcher.errors import LauncherError, UsageError
from launcher.host.inventory import Inventory, take
from launcher.plan.placement import ports_needed
from launcher.spec import schema
from launcher.spec.file import DEFAULT_FILE, check, check_job
from launcher.spec.job_source import config_module
from launcher.spec.model import check_name, is_host
from launcher.spec.yaml.writer import in_one_line
from launcher.terminal.printing import say
from launcher.terminal.questions import Check, Questions, checked_answer

_PORTS = {"worker": 2222, "ps": 2322}  # the first is TensorFlow's usual one


@dataclass(frozen=True)
class Answers:
    """The content of a first file."""

    name: str
    mode: str
    workers: int
    ps: int
    gpus: int  # of each worker
    hosts: tuple[str, ...]  # empty: this machine
    job: str

    def text(self) -> str:
        """Return the cluster file."""
        gpus = f", gpus: {self.gpus}"
        cluster = [f"  worker: {{{self._tasks('worker', self.workers)}{gpus}}}"]
        if self.mode == "async":
            cluster.insert(0, f"  ps:     {{{self._tasks('ps', self.ps)}}}")
        name, job = in_one_line(self.name), in_one_line(self.job)
        return _FILE.format(name=name, mode=self.mode, job=job, cluster="\n".join(cluster))

    def _tasks(self, job: str, tasks: int) -> str:
        if not self.hosts:
            return f"tasks: {tasks}"
        hosts = [self.hosts[i % len(self.hosts)] for i in range(tasks)]
        listed = ", ".join(f"{host}:{_PORTS[job] + hosts[:i].count(host)}" for i, host in enumerate(hosts))
        return f"addresses: [{listed}]"


_FILE = """\
# Which TensorFlow cluster trains which job. `launcher plan` shows where its tasks would run, `launcher run` trains.
name: {name}
mode: {mode:<23} # sync: MultiWorkerMirroredStrategy · async: ParameterServerStrategy
job: {job:<24} # a module of jobs/, any dotted module, or a script: path/to/train.py
args: {{}}                      # the job's own settings

cluster:                      # TensorFlow's cluster spec; a task is a process
{cluster}

run:
  output: runs                # where run directories are created
  checkpoint: {{every: 30s, keep: 3}}     # also: every: 500 steps
  restarts: 3                 # restarts allowed before the run fails
  start_timeout: 60s          # the cluster must have formed by then
  stall_timeout: 5m           # no step for this long is a failure
"""


def _given(check: Check) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """Check a value of the command line as an answer is checked."""
    return lambda _, __, given: given if given is None else checked_answer(given, check)


def _machines(written: str) -> tuple[str, ...]:
    """Return the machines of a list with commas; ValueError if one is not a machine's name."""
    machines = tuple(part.strip() for part in written.split(",") if part.strip())
    for machine in machines:
        if not is_host(machine):
            raise ValueError(f"{machine!r} is not the name of a machine; write names alone, like node-a,node-b")
    return machines


@click.command(
    "init",
    short_help="Write a first cluster file.",
    epilog="Example: launcher config init --yes --mode sync --workers 2 --job linear_regression",
)
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    default=DEFAULT_FILE,
    callback=path_to_write,
    help="The file to write.",
)
@click.option("--mode", type=click.Choice(["sync", "async"]), help="How it trains.")
@click.option("--workers", type=click.IntRange(min=1), help="How many tasks train.")
@click.option("--ps", type=click.IntRange(min=1), help="How many parameter servers, in async mode.")
@click.option("--gpus", type=click.IntRange(min=0), help="GPUs of each worker.")
@click.option("--hosts", callback=_given(_machines), help="The machines, like node-a,node-b; or this one.")
@click.option("--job", help="The training code: a module of jobs/, any dotted module, or path/to/train.py.")
@click.option("--name", callback=_given(check_name), help="The first part of the runs' names.")
@click.option("--yes", is_flag=True, help="Ask nothing: an option that is not given has its default.")
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
def init(
    file: Path,
    mode: str | None,
    workers: int | None,
    ps: int | None,
    gpus: int | None,
    hosts: str | None,
    job: str | None,
    name: str | None,
    yes: bool,
    force: bool,
) -> None:
    """Write a first cluster file: asks a few questions, and shows the plan before it writes."""
    there = _is_there(file, force=force)
    asks, here = Questions(silent=yes), take(0)
    mode = asks.choice("Train in which mode: sync or async?", mode, ["sync", "async"])
    workers = asks.number("How many workers?", workers, max(2, len(here.gpus)) if here.gpus else 2, least=1)
    if ps is not None and mode == "sync":
        raise UsageError("--ps: sync mode starts no ps; leave it out, or choose --mode async")
    ps = asks.number("How many parameter servers?", ps, 1, least=1) if mode == "async" else 0
    where = asks.text("On which machines (separated by commas; empty: this one)?", hosts, "", _machines)
    machines = _machines(where)
    free = len(here.gpus) // -(-workers // max(1, len(machines)))  # as if each machine had as many as this one
    share = asks.number(f"GPUs for each worker ({_gpus_found(here)})?", gpus, free, least=0)
    question = "Which job (a module of jobs/, a dotted module, or path/to/train.py)?"
    job = asks.text(question, job, "linear_regression", lambda job: _known_job(job, file))
    answers = Answers(name or _name_of(job), mode, workers, ps, share, machines, job)
    _write(file, _first_line(file) + answers.text(), asks, there=there)


def _is_there(file: Path, *, force: bool) -> bool:
    """Whether there is a file to overwrite; UsageError if it must not be overwritten, or cannot be written."""
    real = resolve_links(file)
    there = os.path.lexists(real)
    if there and not force:
        raise UsageError(f"{file} exists already; --force overwrites it, and `launcher config set` changes it")
    if not real.parent.is_dir():
        raise UsageError(f"{file} cannot be written: there is no directory {real.parent}; make it first")
    return there


def _known_job(job: str, file: Path) -> None:
    """Check that the job exists; ValueError if not, unless it is a script, which may be written later."""
    if not job.endswith(".py"):
        config_module(job, file.absolute().parent)


def _first_line(file: Path) -> str:
    """Return the line by which editors find the schema."""
    return f"# yaml-language-server: $schema={os.path.relpath(schema.PATH, resolve_links(file).parent)}\n"


def _write(file: Path, text: str, asks: Questions, *, there: bool) -> None:
    asked = check(text, file, engines=SECTIONS)
    say()
    for line in _planned_lines(file, text):
        say(line)
    try:
        check_job(asked)
    except UsageError as error:
        say(f"note: {error}", err=True)
    say()
    if not asks.agrees(f"Write {file}?"):
        say("nothing was written")
        sys.exit(1)
    replace(file, text) if there else write_new(file, text)
    say(f"{file} is written; next: launcher run{'' if file.name == DEFAULT_FILE.name else f' {file}'}")


def _planned_lines(file: Path, text: str) -> Sequence[str]:
    asked = check(text, file, engines=SECTIONS)
    try:
        return list(table(find(asked.spec.run.on).plan(asked, take(ports_needed(asked.spec)))))
    except LauncherError as error:
        return [f"note: it cannot run on this machine: {error}"]


def _gpus_found(inventory: Inventory) -> str:
    return f"{len(inventory.gpus)} found here" if inventory.gpus else "none found here"


def _name_of(job: str) -> str:
    stem = Path(job).stem if job.endswith(".py") else job.rpartition(".")[2]
    return re.sub(r"[^A-Za-z0-9.]+", "-", stem).strip("-.")[:63] or "cluster"
