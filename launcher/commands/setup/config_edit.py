"""An edit of a cluster file: checked before it is written, with what changes and who uses it now said first."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from launcher.commands.setup.config_files import alone, replace
from launcher.contract.task import Task
from launcher.engines.table import SECTIONS
from launcher.errors import Problem, SpecError, UsageError
from launcher.spec.edit.line_ends import keeping_line_ends
from launcher.spec.file import ClusterFile, check, check_job, read
from launcher.spec.yaml_parser import parse
from launcher.text import printable


def edit(path: Path, change: Callable[[str], str], *, dry_run: bool, gone: Iterable[Task] = ()) -> None:
    """Change a file's text, show what changes, and write it unless this is a dry run.

    ``gone`` are the tasks that the change takes out, where their numbers do not say it. UsageError where the change
    cannot be made, or would leave a file that is wrong: then nothing is written.
    """
    with alone(path):
        before = _readable(path)
        after = keeping_line_ends(before, change)
        was = _right(before, path)
        asked = _checked(after, path, was)
        show_diff(before, after, path)
        if was:
            _say_who_uses(was, gone or _lost(was, asked))
        if not dry_run and after != before:
            replace(path, after)
    if after == before:
        click.echo(f"{path}: nothing to change")


def show_diff(before: str, after: str, path: Path) -> None:
    """Print how a text changes, in colour on a terminal."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), str(path), str(path), n=1, lineterm="")
    for number, line in enumerate(lines):
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1]) if number > 1 else None
        click.echo(click.style(line, fg=colour, bold=number < 2))  # the two lines of the head


def _readable(path: Path) -> str:
    """Return the file's text; SpecError where it is not YAML, with the line that has to be mended first."""
    text = read(path)
    _, problems = parse(text, lambda line: f"{path}:{line}")
    if problems:
        raise SpecError(problems)
    return text


def _right(text: str, path: Path) -> ClusterFile | None:
    try:
        return check(text, path, engines=SECTIONS)
    except SpecError:
        return None


def _checked(text: str, path: Path, was: ClusterFile | None) -> ClusterFile:
    """Check the file, and its job with its args: what was wrong with these before is told, what was right stays so."""
    try:
        file = check(text, path, engines=SECTIONS)
    except SpecError as error:
        raise _refused(path, error) from None
    problems = _of_job(file)
    if problems and was and not _of_job(was):
        raise _refused(path, SpecError(problems))
    for problem in problems:
        click.echo(printable(f"note: {problem}"), err=True)
    return file


def _refused(path: Path, error: SpecError) -> UsageError:
    return UsageError(f"the edit is refused, and {path} stays as it is:\n{error}")


def _of_job(file: ClusterFile) -> tuple[Problem, ...]:
    try:
        check_job(file)
    except SpecError as error:
        return error.problems
    return ()


def _lost(before: ClusterFile, after: ClusterFile) -> Iterable[Task]:
    kept = dict(after.spec.cluster.tasks())
    return [task for task, _ in before.spec.cluster.tasks() if task not in kept]


def _say_who_uses(file: ClusterFile, gone: Iterable[Task]) -> None:
    from launcher.engines.run_lock import users

    for task in gone:
        for run, holder in users(file.directory / file.spec.run.output, task):
            click.echo(f"note: {run.name} uses {task} now ({holder}) and goes on as it was started", err=True)
