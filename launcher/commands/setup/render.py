"""``launcher render``: what ``launcher run`` would start, as a file for use by hand."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from launcher.commands import completion
from launcher.commands.options import cluster_file, path_to_write
from launcher.engines.engine import Rendered
from launcher.engines.table import find, load
from launcher.errors import UsageError
from launcher.host.inventory import take
from launcher.plan.placement import ports_needed
from launcher.spec.file import DEFAULT_FILE, check_job
from launcher.terminal.printing import give, say
from launcher.text import counted
from launcher.whole_files import write_whole


@click.command(epilog="Example: launcher render compose --output docker/compose.yaml")
@click.argument("on", metavar="ENGINE", shell_complete=completion.engines)
@cluster_file
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    callback=path_to_write,
    help="Write this file; its paths are relative to it.",
)
def command(on: str, file: Path, overrides: Sequence[str], output: Path | None) -> None:
    """Print the cluster that FILE describes as a file of ENGINE.

    compose: a compose file with a service for each task, for docker-compose 1.29 and docker compose 2. Cores and GPUs
    are dealt out as this machine has them. Its containers read the plan, which is written beside OUTPUT.
    """
    engine = find(on)
    asked = load(file, (*overrides, f"run.on={on}"))
    check_job(asked)
    plan = engine.plan(asked, take(ports_needed(asked.spec)))
    rendered = engine.render(asked, plan, file, output)
    if output is None:
        give(rendered.text.removesuffix("\n"))
        return
    _write(rendered, output)
    say(f"{output}: {counted(len(plan.tasks), engine.noun)}; start them: {_start(on, file, overrides)}")


def _start(on: str, file: Path, overrides: Sequence[str]) -> str:
    """Return the command that starts what was rendered."""
    named = [] if file == DEFAULT_FILE else [str(file)]
    changed = [word for override in overrides for word in ("--set", override)]
    return shlex.join(["launcher", "run", *named, *changed, "--on", on])


def _write(rendered: Rendered, output: Path) -> None:
    for path, text in {output: rendered.text, **_beside(rendered, output)}.items():
        try:
            write_whole(path, text)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from None


def _beside(rendered: Rendered, output: Path) -> dict[Path, str]:
    return {output.with_suffix(end): text for end, text in rendered.beside.items()}
