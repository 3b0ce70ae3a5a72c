"""``launcher render``: what ``launcher run`` would start, as a file for another engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from launcher.commands.options import cluster_file
from launcher.engines.compose.containers import plan_containers
from launcher.engines.compose.file import compose
from launcher.errors import UsageError
from launcher.host.inventory import take
from launcher.plan.placement import ports_needed
from launcher.rundir import write_whole
from launcher.spec.file import check_job, load
from launcher.text import counted


@click.command(epilog="Example: launcher render compose --output docker/compose.yaml")
@click.argument("engine", type=click.Choice(["compose"]), metavar="compose", expose_value=False)
@cluster_file
@click.option("--output", type=click.Path(path_type=Path), help="Write this file; its paths are relative to it.")
def command(file: Path, overrides: Sequence[str], output: Path | None) -> None:
    """Print the cluster that FILE describes as a compose file: a service for each task.

    Works with docker-compose 1.29 and docker compose 2. Cores and GPUs are dealt out as this machine has them.
    """
    if any("\n" in override for override in overrides):
        raise UsageError("--set: a line break cannot be rendered; write the value in the file")
    asked = load(file, overrides)
    check_job(asked)
    plan = plan_containers(asked, take(ports_needed(asked.spec)))
    text = compose(plan, file, overrides, output=output)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        write_whole(output, text)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from None
    click.echo(f"{output}: {counted(len(plan.tasks), 'service')}; start them: launcher run --compose")
