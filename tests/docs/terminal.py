"""The README's picture of the terminal: a recorded run, shown by the screen that a user has, as SVG."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.text import Text

from launcher.contract.task import Task
from launcher.terminal.screen import TerminalScreen

# What a run of the committed cluster file printed, with a checkpoint every 500 steps and a SIGKILL for worker:1 after
# 300 epochs; before each line the seconds since the start. To record another one, put the seconds before the lines of
# `launcher run --set run.checkpoint.every="500 steps"`.
RECORDED = Path(__file__).with_name("recorded_run.txt")
_UNTIL = 45.0  # seconds after the start, when the picture is taken
_WIDTH = 82  # columns: its longest line, and a margin
_ENVIRONMENT = {"TERM": "xterm-256color", "COLUMNS": str(_WIDTH), "LINES": "40"}
_STEPS, _STEPS_PER_EPOCH = 17_000, 17
_EPOCH = re.compile(r"Epoch: (\d+) cost= (\S+)")
_REDRAWN = "\x1b[2K"  # behind it stands what a line of a terminal shows at last
# rich has a browser load its fonts from elsewhere, which no page does for a picture: the reader's own will do.
_FONTS = re.compile(r" *@font-face \{.*?\}\n+", re.DOTALL)


class _Terminal(io.StringIO):
    """A stream that says it is a terminal, and keeps what is written to it."""

    def isatty(self) -> bool:
        return True


def picture() -> str:
    """Return the terminal in the middle of the recorded run, as SVG."""
    with patch.dict(os.environ, _ENVIRONMENT, clear=True):  # without the reader's own NO_COLOR
        console = Console(record=True, width=_WIDTH, file=io.StringIO())
        console.print(Text.from_ansi("\n".join(_lines())))
    return _FONTS.sub("", console.export_svg(title="launcher run", unique_id="terminal"))


def _lines() -> list[str]:
    """Return what a terminal shows then, line by line, the live line last."""
    terminal, tasks = _Terminal(), [Task("worker", index) for index in range(2)]
    with patch("time.monotonic", return_value=0.0) as clock, TerminalScreen(tasks, terminal) as screen:
        for seconds, line in _recorded():
            clock.return_value = seconds
            _show(screen, line)
        shown = terminal.getvalue()
    return [line.rpartition(_REDRAWN)[2] for line in shown.split("\n")]


def _recorded() -> Iterator[tuple[float, str]]:
    for line in RECORDED.read_text().splitlines():
        seconds, text = line.lstrip().split(" ", 1)
        if float(seconds) <= _UNTIL:
            yield float(seconds), text


def _show(screen: TerminalScreen, line: str) -> None:
    task, of_task, text = line.partition(" │ ")
    if not of_task:
        screen.note(line)
        return
    screen.line(Task.parse(task), text)
    if reported := _EPOCH.match(text):
        step, cost = int(reported[1]) * _STEPS_PER_EPOCH, float(reported[2])
        screen.progress({"step": step, "steps": _STEPS, "figures": {"cost": cost}})
