"""What a shell offers while the user types: dotted keys, tasks and runs. An invalid file is never an error here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

import click
from click.shell_completion import CompletionItem

from launcher.contract.task import JOBS, Mode
from launcher.engines.table import ENGINES, SECTIONS, load
from launcher.errors import LauncherError
from launcher.rundir import run_names
from launcher.spec.file import DEFAULT_FILE, ClusterFile
from launcher.spec.keys import known_keys, values
from launcher.text import one_line

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
# Keys of which there are only a few values.
_VALUES = {
    "mode": get_args(Mode),
    "run.network": ("private", "host"),
    "run.on": tuple(ENGINES),
    "compose.internal": ("true", "false"),
}


def _completer(words: Callable[[click.Context], Iterable[str]]) -> Completer:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
        try:
            offered = [word for word in words(ctx) if word.startswith(incomplete)]
            # A shell draws them on the terminal, and takes a line for each.
            return [CompletionItem(word) for word in offered if word == one_line(word)]
        except (LauncherError, OSError):
            return []

    return complete


def _file(ctx: click.Context) -> ClusterFile:
    given: Any = ctx.params.get("file")
    return load(Path(given or DEFAULT_FILE))


def _keys(ctx: click.Context) -> Iterable[str]:
    try:
        own = values(_file(ctx))
    except (LauncherError, OSError):
        own = {}
    return sorted({*known_keys(SECTIONS), *own})


def _assignments(ctx: click.Context) -> Iterable[str]:
    for key in _keys(ctx):
        yield from (f"{key}={value}" for value in _VALUES.get(key, ("",)))


def _tasks(ctx: click.Context) -> Iterable[str]:
    return [str(task) for task, _ in _file(ctx).spec.cluster.tasks()]


def _runs(ctx: click.Context) -> Iterable[str]:
    try:
        output = Path(_file(ctx).spec.run.output)
    except (LauncherError, OSError):
        output = Path("runs")
    return run_names(output)


keys, assignments, tasks, runs = map(_completer, (_keys, _assignments, _tasks, _runs))
jobs = _completer(lambda _: JOBS)
engines = _completer(lambda _: ENGINES)
tasks_and_jobs = _completer(lambda ctx: [*_tasks(ctx), *JOBS])
