"""``launcher config``: the cluster file read and edited by command, always checked, its comments and layout kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from launcher.commands import completion
from launcher.commands.groups import Group
from launcher.commands.options import overrides_option
from launcher.commands.setup.config_edit import edit
from launcher.contract.task import JOBS, Task
from launcher.engines.table import SECTIONS, load
from launcher.errors import UsageError, did_you_mean
from launcher.spec.edit import key_edits
from launcher.spec.edit.task_edits import add_tasks, remove_tasks
from launcher.spec.file import DEFAULT_FILE
from launcher.spec.keys import is_key, known_keys, values, values_at
from launcher.terminal.printing import give, say, styled
from launcher.text import one_line, whole_number

Command = TypeVar("Command", bound=Callable[..., Any])


class ConfigVerbs(Group):
    """The verbs below, and ``init``, whose module is imported only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs."""
        return ["init", *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the verb's command."""
        if cmd_name == "init":
            from launcher.commands.setup.config_init import init

            return init
        return super().get_command(ctx, cmd_name)


@click.group(cls=ConfigVerbs, subcommand_metavar="VERB [ARGS]...")
def command() -> None:
    """Read and edit the cluster file.

    An edit leaves every other byte of the file as it is; an edit that would make the file invalid is refused.

    \b
    Examples:
      launcher config set mode=async run.restarts=5
      launcher config add worker --count 2 --dry-run
      launcher config show
    """


def verb(name: str, short: str, example: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function one of the verbs, with one line for the list and an example for its own help."""
    return command.command(name, short_help=short, epilog=f"Example: launcher config {name} {example}")


def the_file(function: Command) -> Command:
    """Add ``--file PATH`` (``file``)."""
    return click.option(
        "--file", type=click.Path(path_type=Path), default=DEFAULT_FILE, help=f"The cluster file ({DEFAULT_FILE})."
    )(function)


def an_edit(function: Command) -> Command:
    """Add what every edit takes: ``--file`` and ``--dry-run``."""
    return the_file(
        click.option("--dry-run", is_flag=True, help="Show what would change, and write nothing.")(function)
    )


def keys_of(key: str) -> list[str]:
    """Return the parts of a dotted key; UsageError if no file may have it."""
    if not is_key(key, SECTIONS):
        hint = did_you_mean(key, known_keys(SECTIONS)) or "; `launcher config show` lists the keys"
        raise UsageError(f"there is no key {key!r}{hint}")
    return key.split(".")


@verb("get", "Print one value.", "cluster.worker.tasks")
@click.argument("key", shell_complete=completion.keys)
@overrides_option
@click.option("--json", "as_json", is_flag=True, help="Print the value as JSON.")
@the_file
def get(key: str, overrides: Sequence[str], as_json: bool, file: Path) -> None:
    """Print the value of KEY, or its default if the file does not set it."""
    keys_of(key)
    found = values(load(file, overrides), SECTIONS)
    inside = values_at(found, key)
    if not inside:
        above, _, name = key.rpartition(".")
        hint = "" if key in known_keys(SECTIONS) else did_you_mean(name, values_at(found, above))
        raise UsageError(f"{key} has no value and no default in {file}{hint}")
    if as_json:
        give(json.dumps(inside.get("", inside), indent=2))
        return
    for name, value in inside.items():
        say(f"{name}: {written(value)}") if name else give(written(value))


def written(value: Any) -> str:
    """Return a value as a file has it, in one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@verb("set", "Set keys to values.", "mode=async cluster.worker.cpus=2")
@click.argument("assignments", metavar="KEY=VALUE...", nargs=-1, required=True, shell_complete=completion.assignments)
@an_edit
def set_(assignments: Sequence[str], file: Path, dry_run: bool) -> None:
    """Set each KEY, dotted, to its VALUE; all of them, or none if the file would become invalid."""
    pairs = []
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"write KEY=VALUE, like cluster.worker.tasks=3, not {assignment!r}")
        pairs.append((keys_of(key.strip()), value))
    edit(file, lambda text: reduce(lambda done, pair: key_edits.set_key(done, *pair), pairs, text), dry_run=dry_run)


@verb("unset", "Remove keys, so that their defaults apply.", "run.restarts")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, shell_complete=completion.keys)
@an_edit
def unset(keys: Sequence[str], file: Path, dry_run: bool) -> None:
    """Remove each KEY from the file, so that its default applies."""
    edit(file, lambda text: reduce(_without, keys, text), dry_run=dry_run)


def _without(text: str, key: str) -> str:
    """Remove a key, even one that should not be there."""
    parts = key.split(".")
    return key_edits.unset_key(text, parts if key_edits.is_written(text, parts) else keys_of(key))


@verb("add", "Add tasks to a job.", "worker --count 2")
@click.argument("job", shell_complete=completion.jobs)
@click.argument("addresses", metavar="[ADDRESS]...", nargs=-1)
@click.option("--count", type=click.IntRange(min=1), help="How many tasks to add (1).")
@an_edit
def add(job: str, addresses: Sequence[str], count: int | None, file: Path, dry_run: bool) -> None:
    """Add tasks to JOB (worker, ps, chief, evaluator): a number, or one at each ADDRESS."""
    _known_job(job)
    if addresses and count is not None:
        raise UsageError("give addresses or --count, not both: each address is a task")
    edit(file, lambda text: add_tasks(text, file, job, addresses, count or 1, SECTIONS), dry_run=dry_run)


@verb("remove", "Remove tasks.", "worker:2")
@click.argument("what", metavar="TASK|JOB", shell_complete=completion.tasks_and_jobs)
@click.option("--count", type=click.IntRange(min=1), help="How many of the job's last tasks to remove (1).")
@an_edit
def remove(what: str, count: int | None, file: Path, dry_run: bool) -> None:
    """Remove one TASK (worker:2), or the last tasks of a JOB (worker --count 2)."""
    job, colon, index = what.partition(":")
    _known_job(job)
    number = whole_number(index)
    if colon and (count is not None or number is None):
        raise UsageError(f"name a task, like {job}:0, or a job with --count, not {what!r}")
    gone = () if number is None else (Task(job, number),)
    edit(file, lambda text: remove_tasks(text, file, job, number, count or 1, SECTIONS), dry_run=dry_run, gone=gone)


def _known_job(job: str) -> None:
    if job not in JOBS:
        raise UsageError(f"there is no job {job!r}{did_you_mean(job, JOBS, 'jobs')}")


@verb("show", "Show every value and where it comes from.", "--set mode=async")
@overrides_option
@click.option("--json", "as_json", is_flag=True, help="Print keys, values and origins as JSON.")
@the_file
def show(overrides: Sequence[str], as_json: bool, file: Path) -> None:
    """Show every value, defaults included, and where each comes from."""
    found = values(load(file, overrides), SECTIONS)
    if as_json:
        give(json.dumps({key: value._asdict() for key, value in found.items()}, indent=2))
        return
    rows = [(one_line(key), one_line(written(one.value)), one.origin) for key, one in found.items()]
    wide, long = (max(len(row[column]) for row in rows) for column in (0, 1))
    for key, value, origin in rows:
        say(f"{key:<{wide}}  {value:<{min(long, 40)}}  ", styled(origin, dim=origin == "default"))


@verb("diff", "Compare with another file, a run, or --set.", "--run latest")
@click.argument("other", type=click.Path(path_type=Path), required=False)
@click.option(
    "--run",
    metavar="RUN",
    shell_complete=completion.runs,
    help="Compare with the cluster file of this run (its name, its path, or latest).",
)
@overrides_option
@the_file
def diff(other: Path | None, run: str | None, overrides: Sequence[str], file: Path) -> None:
    """Show how the file differs from OTHER, or from a run; with --set alone, what that would change."""
    from launcher.rundir import RunFiles

    here = load(file)
    if run is not None:
        if other is not None:
            raise UsageError("compare with another file or with a run, not with both")
        other = RunFiles.find(file.parent / here.spec.run.output, run).cluster_file
    if other is None and not overrides:
        raise UsageError("name what to compare with: another file, --run latest, or --set KEY=VALUE")
    before = values(load(other) if other else here, SECTIONS)
    after = values(load(file, overrides), SECTIONS)
    changed = [key for key in {**before, **after} if _value(before, key) != _value(after, key)]
    for key in changed:
        for mark, colour, side in (("-", "red", before), ("+", "green", after)):
            if key in side:
                say(styled(one_line(f"{mark} {key}: {written(side[key].value)}"), fg=colour))
    if not changed:
        say("no difference")


def _value(side: dict[str, Any], key: str) -> Any:
    return side[key].value if key in side else None


@verb("format", "Tidy the layout.", "--dry-run")
@an_edit
def format_(file: Path, dry_run: bool) -> None:
    """Tidy the file's layout: no blanks at line ends, no repeated empty lines, two columns of indentation."""
    from launcher.spec.edit.layout import tidy

    edit(file, tidy, dry_run=dry_run)


@verb("key", "Make the key that the launchers of several machines share.", "--file several.yaml")
@the_file
def key(file: Path) -> None:
    """Write a new key beside the cluster file, as FILE.key, which only its owner can read.

    With it on every machine, nobody else can join the run.
    """
    from launcher.engines.run_key import write_key

    load(file)  # so that no key lies beside a file that is not there
    place = write_key(file)
    say(f"{place} is this cluster's key: copy it to every machine, beside the cluster file, with its mode")


@verb("schema", "Print the JSON Schema of cluster files.", "> cluster.schema.json")
@click.option(
    "--file", expose_value=False, help="Accepted as by the other verbs; the schema is the same for all files."
)
def schema() -> None:
    """Print the JSON Schema of cluster files, for editors that complete and check as you type."""
    from launcher.spec.schema import json_schema

    give(json.dumps(json_schema(SECTIONS), indent=2))
