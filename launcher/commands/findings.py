"""A finding: what ``check`` and ``doctor`` report of one thing that they checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from launcher.errors import Problem

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """What was checked, what was found, and what to do about it."""

    state: State
    about: str
    message: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether it keeps nothing from working."""
        return self.state != "problem"

    def __str__(self) -> str:
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.state:<9}{self.about}: {self.message}{remedy}"


def shown(problem: Problem) -> Finding:
    """Return the finding for a problem of a cluster file."""
    message = f"{problem.key}: {problem.message}" if problem.key else problem.message
    return Finding("problem", problem.where, message)


def masked(problem: Problem, remedy: str) -> Finding:
    """Return it without the values that may be secret: those of args, of variables and of --set."""
    is_option = problem.where.startswith("--set ")
    parts = problem.key.split(".")
    if not (is_option or parts[0] == "args" or "env" in parts[2:3]):
        return shown(problem)
    message = f"{problem.key}: is wrong" if problem.key else "is wrong"
    return Finding("problem", "--set" if is_option else problem.where, message, remedy)
