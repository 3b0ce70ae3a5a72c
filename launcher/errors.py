"""Errors that a user can fix; each is a sentence and an exit code."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from launcher.text import one_line

_MOST = 20  # words of a list in a message
_OURS = Path(__file__).parent


class LauncherError(Exception):
    """An error whose text is shown to the user as it is, without a traceback."""

    exit_code = 1

    @property
    def sentences(self) -> Sequence[str]:
        """What the user reads, a message each."""
        return (str(self),)


class UsageError(LauncherError):
    """The command line or the cluster file is wrong; nothing was started."""

    exit_code = 2


class FormationError(LauncherError):
    """The cluster did not form in time; the text names the missing tasks."""

    exit_code = 3


class PlacementError(LauncherError):
    """A task does not have what was placed on it; the text shows both."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a cluster file: its place, and what to do about it."""

    where: str  # "cluster.yaml:7", or "--set mode=fast"
    key: str  # "cluster.worker.tasks"; empty for the file as a whole
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.message) if part)


class SpecError(UsageError):
    """A cluster file with all of its problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.sentences))

    @property
    def sentences(self) -> Sequence[str]:
        """Each problem in a line."""
        return [one_line(str(problem)) for problem in self.problems]


def did_you_mean(word: str, known: Iterable[str], listed: str = "", *, key: Callable[[str], str] = str.lower) -> str:
    """Return "; did you mean 'x'?" for the nearest known word, or nothing; with ``listed``, the known words as well.

    Words are compared by their ``key``. ``listed`` is what the words are, like "tasks".
    """
    names = list(known)
    as_written = {key(name): name for name in reversed(names)}
    near = get_close_matches(key(word), as_written, n=1)
    hint = f"; did you mean {as_written[near[0]]!r}?" if near else ""
    return listing(hint, names, listed) if listed else hint


def listing(hint: str, known: Sequence[str], listed: str) -> str:
    """Return "; did you mean 'x'? Tasks: x, y" with a hint from ``did_you_mean``, and "; tasks: x, y" without."""
    words = ", ".join([*known[:_MOST], *(["…"] if len(known) > _MOST else [])]) or "none"
    return f"{hint} {listed[0].upper()}{listed[1:]}: {words}" if hint else f"; {listed}: {words}"


def is_library(path: Path) -> bool:
    """Whether a frame of a traceback is in Python, in a package or in the launcher, and not in the user's code."""
    # Not sys.base_prefix: that is /usr as often as not, and a job may be in /usr/src/app.
    packages = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(packages) or path.is_relative_to(_OURS) or path.is_relative_to(sysconfig.get_path("stdlib"))
