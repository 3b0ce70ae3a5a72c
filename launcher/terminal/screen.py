"""The terminal during a run: every task's lines once, prefixed, and a live line of progress under them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TextIO, cast

from rich.console import Console  # noqa: TID251  # what is printed on it is escaped here
from rich.live import Live
from rich.text import Text

from launcher.contract.phases import Phase
from launcher.contract.task import Task
from launcher.terminal.output import BufferedOutput
from launcher.terminal.printing import stream as standard
from launcher.text import coloured, indented, one_line

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")
_REDRAW = 0.1  # seconds
_DOING = {
    Phase.IMPORT: "importing TensorFlow",
    Phase.BUILD: "building",
    Phase.DATA: "waiting for data",
    Phase.EVALUATE: "evaluating",
    Phase.SAVE: "saving",
    Phase.REPORT: "reporting",
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704  # the BrokenPipeError that is being handled, which rich would turn into an exit


class TerminalScreen:
    """Coloured and live on a terminal, plain if it is piped; raises OSError if the reader is gone."""

    def __init__(self, tasks: Iterable[Task], stream: TextIO | None = None, *, prefixed: bool = True) -> None:
        """Without ``prefixed`` a line is shown as it was printed: the reader knows which task it is."""
        self._output = BufferedOutput(stream or standard())
        names = [str(task) for task in tasks]
        self._prefixed = prefixed
        self._width = max(map(len, names), default=0)
        self._colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
        self._console = _Console(file=cast("TextIO", self._output), highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._first: tuple[float, int] | None = None  # when the first progress came, and its step
        self._drawn_at = 0.0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            live = Live(console=self._console, transient=True, auto_refresh=False)
            with contextlib.suppress(OSError):  # the first line that is written raises it again
                live.start()
                self._live = live
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):  # the reader is gone, and an earlier write has raised it
            if self._live:
                self._live.stop()
            self._output.finish()

    def line(self, task: Task, text: str) -> None:
        """Show a line that a task printed."""
        name = str(task)
        prefix = f"{name:<{self._width}} │ " if self._prefixed else ""
        text = coloured(text)
        if self._live:
            self._console.print(Text.assemble((prefix, self._colours[name]), Text.from_ansi(text)))
        else:  # flushed with the progress, a moment later: a task may print a hundred thousand lines a second
            self._output.write(f"{prefix}{text}\n")

    def note(self, text: str) -> None:
        """Show a line of the launcher's own."""
        text = indented(text)
        if self._live:
            self._console.print(Text(text, style="dim"))
        else:
            self._output.write(f"{text}\n")
            self._output.flush()

    def progress(self, progress: Mapping[str, Any]) -> None:
        """Redraw the live line, if there is one, and write what was kept."""
        now = time.monotonic()
        if "step" in progress:
            self._first = self._first or (now, progress["step"])
        self._output.flush()
        if self._live and now - self._drawn_at >= _REDRAW and not self._output.is_behind:
            self._drawn_at = now
            self._live.update(Text(one_line(self._describe(progress, now)), style="bold"), refresh=True)

    def _describe(self, progress: Mapping[str, Any], now: float) -> str:
        phase = [doing(progress)] if "phase" in progress else []
        if "step" not in progress:
            return f"{phase[0] if phase else 'starting'} · {clock(now - self._began)} elapsed"
        step, steps, (at, first) = progress["step"], progress.get("steps"), self._first or (now, 0)
        speed = (step - first) / (now - at) if now > at else 0.0
        parts = [*phase, f"step {step:,}/{steps:,}" if steps else f"step {step:,}"]
        if speed:
            parts.append(f"{speed:,.0f} steps/s")
        parts += [f"{name} {value:.5g}" for name, value in progress["figures"].items() if isinstance(value, float)][:1]
        parts.append(f"{clock(now - self._began)} elapsed")
        if speed and steps:
            parts.append(f"{clock((steps - step) / speed)} left")
        return " · ".join(parts)


def doing(progress: Mapping[str, Any]) -> str:
    """Return in words what is done instead of steps, and for which task the others wait."""
    text = _DOING.get(progress["phase"], progress["phase"])
    if "to_skip" in progress:
        text = f"skipping {progress['skipped']:,} of {progress['to_skip']:,} batches"
    return f"{progress['waits_for']}: {text}" if "waits_for" in progress else text


def clock(seconds: float) -> str:
    """Return 0:07, 12:30 or 1:02:03."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
