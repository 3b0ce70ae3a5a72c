"""The arguments that every verb shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def cluster_file(function: Command) -> Command:
    """Add the path of the cluster file (``file``) and ``--set KEY=VALUE`` (``overrides``)."""
    argument = click.argument("file", type=click.Path(path_type=Path), default=Path("cluster.yaml"), required=False)
    override = click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Change a key of the file for this call, dotted: --set cluster.worker.tasks=3. Repeatable.",
    )
    return argument(override(function))
