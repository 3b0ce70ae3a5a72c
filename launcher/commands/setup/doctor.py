"""``launcher doctor``: what does not work, and why? One page on this machine, each line with its remedy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path

import click

from launcher import __version__
from launcher.commands import file_probes, machine_probes
from launcher.commands.findings import Finding, masked
from launcher.commands.options import cluster_file
from launcher.engines.table import load
from launcher.errors import SpecError
from launcher.spec.file import DEFAULT_FILE
from launcher.terminal.printing import give, say, styled

_WIDE = 15  # characters of what is checked
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command(epilog="Example: launcher doctor --json > doctor.json")
@cluster_file
@click.option("--json", "as_json", is_flag=True, help="Print the lines as JSON.")
def command(file: Path, overrides: Sequence[str], as_json: bool) -> None:
    """Examine this machine, and FILE if it exists: what works, what does not, and what to do about it.

    Ready to paste into an issue: no secrets, no addresses but those of FILE. Exit codes: 0 nothing is wrong; 1 there is
    a problem.
    """
    found: list[Finding] = []
    if not as_json:
        say(f"launcher {__version__}")
    for one in chain(machine_probes.machine(), cluster(file, overrides)):
        found.append(one)
        if not as_json:
            show(one)
    problems = sum(not one.ok for one in found)
    if as_json:
        lines = [asdict(one) for one in found]
        give(json.dumps({"launcher": __version__, "ok": not problems, "lines": lines}, indent=2))
    sys.exit(1 if problems else 0)


def cluster(path: Path, overrides: Sequence[str]) -> Iterator[Finding]:
    """Check the cluster file, and what it needs of this machine and of the network; no secret is shown."""
    if path == DEFAULT_FILE and not path.exists():
        yield Finding("ok", "cluster file", f"there is no {path}", "launcher config init writes one")
        return
    yield from file_probes.examine(
        path, overrides, partial(masked, remedy=f"launcher check {path} shows it, with its value")
    )
    with suppress(SpecError):  # which is a finding already
        yield from file_probes.hosts(load(path, overrides))


def show(one: Finding) -> None:
    """Print a line, and its remedy under it."""
    say(styled(f"{one.state:<8}", fg=_COLOURS[one.state]), f" {one.about:<{_WIDE}} {one.message}")
    if one.remedy:
        say(f"{'':<8} {'':<{_WIDE}} → {one.remedy}")
