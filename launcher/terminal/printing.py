"""What the verbs print goes through here: nothing that comes from elsewhere reaches a terminal as a control character.

The lint rule TID251 (pyproject.toml) refuses ``click.echo`` and its like anywhere else.
"""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

import click

from launcher.text import indented, printable


class Styled(str):
    """Text with a style around it, harmless already; only ``styled`` makes it."""

    __slots__ = ()


def styled(text: str, **style: Any) -> Styled:
    """Return the text in a style of ``click.style``, left out without a terminal, on a dumb one, and by NO_COLOR."""
    plainly = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return Styled(indented(text) if plainly else click.style(indented(text), **style))


def say(*parts: str, err: bool = False) -> None:
    """Print a line for people; further lines of a part are indented, so that none looks like another message."""
    text = "".join(part if isinstance(part, Styled) else indented(part) for part in parts)
    encoding = stream(err=err).encoding or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding), err=err)  # a terminal that knows no │ still works


def give(text: str) -> None:
    """Print what a program may read: as it is, but harmless on a terminal; UnicodeEncodeError if it cannot be."""
    click.echo(printable(text) if on_terminal() else text, color=True)  # or colours would be taken out of the text


def on_terminal() -> bool:
    """Whether a person reads the output on a terminal."""
    return sys.stdout.isatty()


def stream(*, err: bool = False) -> TextIO:
    """Return standard output or error, for what is written otherwise and escaped there."""
    return sys.stderr if err else sys.stdout
