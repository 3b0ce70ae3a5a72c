"""``launcher doctor``: why does it not work? One page on this machine, each line with its remedy."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import click

from launcher import __version__
from launcher.commands.options import cluster_file
from launcher.commands.setup import diagnosis, diagnosis_file
from launcher.commands.setup.diagnosis import Diagnosis

_WIDE = 15  # of what is looked at
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command(epilog="Example: launcher doctor --json > doctor.json")
@cluster_file
@click.option("--json", "as_json", is_flag=True, help="Print the lines as JSON.")
def command(file: Path, overrides: Sequence[str], as_json: bool) -> None:
    """Look at this machine, and at FILE where there is one: what works, what does not, and what to do about it.

    Ready to paste into an issue: no secrets, no addresses but those of FILE. Exit codes: 0 nothing is wrong; 1 there is
    a problem.
    """
    found: list[Diagnosis] = []
    if not as_json:
        click.echo(f"launcher {__version__}")
    for one in chain(diagnosis.machine(), diagnosis_file.cluster(file, overrides)):
        found.append(one)
        if not as_json:
            show(one)
    problems = sum(one.state == "problem" for one in found)
    if as_json:
        lines = [asdict(one) for one in found]
        click.echo(json.dumps({"launcher": __version__, "ok": not problems, "lines": lines}, indent=2))
    sys.exit(1 if problems else 0)


def show(one: Diagnosis) -> None:
    """Print a line, and its remedy under it."""
    state = click.style(f"{one.state:<8}", fg=_COLOURS[one.state])
    click.echo(f"{state} {one.about:<{_WIDE}} {one.message}")
    if one.remedy:
        click.echo(f"{'':<8} {'':<{_WIDE}} → {one.remedy}")
