"""Questions on the terminal, each with a default, which the command line may have answered already."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click

from launcher.errors import UsageError
from launcher.text import one_line

Check = Callable[[str], object]  # raises ValueError for an answer that is not allowed


def checked_answer(answer: str, check: Check) -> str:
    """Return the answer; click.BadParameter if ``check`` raises ValueError, so that the question is asked again."""
    try:
        check(answer)
    except ValueError as error:
        raise click.BadParameter(one_line(str(error))) from None
    return answer


def _is_answered() -> bool:
    return sys.stdin.isatty()


class Questions:
    """Asks on the terminal what the command line left open; silent, it takes the defaults."""

    def __init__(self, *, silent: bool) -> None:
        if not silent and not _is_answered():
            raise UsageError("config init asks questions, and its input is not a terminal; --yes takes the defaults")
        self._silent = silent

    def choice(self, question: str, given: str | None, options: Sequence[str]) -> str:
        """Return one of the options; the first is the default."""
        if given is not None or self._silent:
            return given or options[0]
        answer: str = click.prompt(question, type=click.Choice(options), default=options[0], show_choices=False)
        return answer

    def number(self, question: str, given: int | None, default: int, *, least: int) -> int:
        """Return a number."""
        if given is not None or self._silent:
            return default if given is None else given
        answer: int = click.prompt(question, type=click.IntRange(min=least), default=default)
        return answer

    def text(self, question: str, given: str | None, default: str, check: Check) -> str:
        """Return a line of text; if ``check`` raises ValueError, the question is asked again."""
        if given is not None or self._silent:
            return default if given is None else given
        shown, checked = bool(default), lambda answer: checked_answer(answer, check)
        answer: str = click.prompt(question, default=default, show_default=shown, value_proc=checked)
        return answer

    def agrees(self, question: str) -> bool:
        """Whether the user agrees."""
        return self._silent or click.confirm(one_line(question), default=True)
