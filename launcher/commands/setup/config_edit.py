"""An edit of a cluster file: checked before it is written; its changes and the runs that it affects are shown first."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path

from launcher.commands.setup.config_files import exclusive, replace
from launcher.contract.task import Task
from launcher.engines.table import SECTIONS
from launcher.errors import Problem, SpecError, UsageError
from launcher.spec.edit.line_ends import keeping_line_ends
from launcher.spec.file import ClusterFile, check, check_job, read
from launcher.spec.yaml.parser import parse
from launcher.terminal.printing import say, styled
from launcher.text import one_line


def edit(path: Path, change: Callable[[str], str], *, dry_run: bool, gone: Iterable[Task] = ()) -> None:
    """Change a file's text, show what changes, and write it unless this is a dry run.

    ``gone`` are the tasks that the change removes, if their number alone does not say which. UsageError if the change
    cannot be made, or would make the file invalid: then nothing is written.
    """
    with exclusive(path):
        before = _readable(path)
        after = keeping_line_ends(before, change)
        previous = _valid(before, path)
        asked = _checked(after, path, previous)
        show_diff(before, after, path)
        if previous:
            _note_affected_runs(previous, gone or _removed(previous, asked))
        if not dry_run and after != before:
            replace(path, after)
    if after == before:
        say(f"{path}: nothing to change")


def show_diff(before: str, after: str, path: Path) -> None:
    """Print how a text changes, in colour on a terminal."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), str(path), str(path), n=1, lineterm="")
    for number, line in enumerate(lines):
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1]) if number > 1 else None
        say(styled(one_line(line), fg=colour, bold=number < 2))  # the two lines of the head


def _readable(path: Path) -> str:
    """Return the file's text; SpecError if it is not YAML, with the line that has to be fixed first."""
    text = read(path)
    _, problems = parse(text, lambda line: f"{path}:{line}")
    if problems:
        raise SpecError(problems)
    return text


def _valid(text: str, path: Path) -> ClusterFile | None:
    try:
        return check(text, path, engines=SECTIONS)
    except SpecError:
        return None


def _checked(text: str, path: Path, previous: ClusterFile | None) -> ClusterFile:
    """Check the file, its job and its args; a problem of the job is only a note if it was there before."""
    try:
        file = check(text, path, engines=SECTIONS)
    except SpecError as error:
        raise _refused(path, error) from None
    problems = _job_problems(file)
    if problems and previous and not _job_problems(previous):
        raise _refused(path, SpecError(problems))
    for problem in problems:
        say(f"note: {problem}", err=True)
    return file


def _refused(path: Path, error: SpecError) -> UsageError:
    return UsageError(f"the edit is refused; {path} is unchanged:\n{error}")


def _job_problems(file: ClusterFile) -> tuple[Problem, ...]:
    try:
        check_job(file)
    except SpecError as error:
        return error.problems
    return ()


def _removed(before: ClusterFile, after: ClusterFile) -> Iterable[Task]:
    kept = dict(after.spec.cluster.tasks())
    return [task for task, _ in before.spec.cluster.tasks() if task not in kept]


def _note_affected_runs(file: ClusterFile, gone: Iterable[Task]) -> None:
    from launcher.engines.run_lock import users

    for task in gone:
        for run, holder in users(file.directory / file.spec.run.output, task):
            say(f"note: {run.name} is running {task} ({holder}) and continues as it was started", err=True)
