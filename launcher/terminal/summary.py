"""What is said of a run: its first line, and its last."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.engines.logs import NoiseFilter
from launcher.plan.plan import Plan
from launcher.rundir import RunFiles
from launcher.supervise.causes import Cause
from launcher.supervise.result import Outcome, RunResult
from launcher.terminal.output import BufferedOutput
from launcher.terminal.printing import stream
from launcher.terminal.screen import clock
from launcher.text import indented, printable

# What Python, C libraries and curl say if a name has no address, or an address no way to it. Docker drops what would
# leave a closed network, so that a connection there times out.
_CUT_OFF = re.compile(
    r"name resolution|Name or service not known|No address associated with hostname|gaierror|[Cc]ould not resolve"
    r"|[Ff]ailed to resolve|(Network|Host) is unreachable|No route to host|ConnectionRefusedError|\[Errno 111\]"
    r"|TimeoutError|\[Errno 110\]|Connection timed out"
)
_LONGEST_VECTOR = 8  # numbers of a figure in the last lines
_LAST_LINES = 5  # of a task's log, if it left no exception
_LOG_END = 1 << 16  # bytes of a log among which its last lines are looked for


def headline(plan: Plan, tasks: str) -> str:
    """Return the first line of a run; ``tasks`` says what starts here, like ``2 tasks``."""
    return f"{plan.spec.name}: {plan.spec.job}, {plan.spec.mode}, {tasks}, {plan.strategy}"


def achieved(result: RunResult) -> list[str]:
    """Return what a run that is done has reached: steps, time, speed, and its last figures."""
    speed = f", {result.steps_per_s:,.0f} steps/s" if result.steps and result.steps_per_s else ""
    figures = [f"{name} {text}" for name, value in result.metrics.items() if (text := _figure(value))]
    since = result.resumed and f", {clock(result.wall_s - result.resumed['wall_s'])} of it since the run was resumed"
    lines = [f"done: {result.steps:,} steps in {clock(result.wall_s)}{since or ''}{speed}"]
    if result.updates and (twice := result.updates["maybe_twice"]):
        lines.append(f"  {twice:,} updates may have been applied twice: their workers were lost in the middle")
    return [*lines, f"  {'  '.join(figures)}"] if figures else lines


def _figure(value: object) -> str:
    """Return a number, or a short list of numbers, as the last lines show it; empty for anything else."""
    if isinstance(value, float):
        return f"{value:.5g}"
    short = isinstance(value, list) and 0 < len(value) <= _LONGEST_VECTOR
    if short and all(isinstance(one, float) for one in value):  # type: ignore[attr-defined]
        return f"[{', '.join(f'{one:.5g}' for one in value)}]"  # type: ignore[attr-defined]
    return ""


def last_lines(outcome: Outcome, elsewhere: str) -> list[str]:
    """Return the summary of a run; ``elsewhere`` says where its results are, if they are not here."""
    return [indented(line) for line in _last_lines_of_run(outcome, elsewhere)]


def _last_lines_of_run(outcome: Outcome, elsewhere: str) -> list[str]:
    result, where = outcome.result, run_directory(outcome.files.directory)
    if result.status == "done":
        return [f"done after {clock(result.wall_s)}; {elsewhere}"] if elsewhere else [*achieved(result), where]
    if outcome.cause is None and elsewhere:
        return [f"stopped after {clock(result.wall_s)}; {elsewhere}"]
    if outcome.cause is None:
        return [stopped(result, outcome.files), where]
    log = outcome.files.log(outcome.attempt, outcome.cause.task.slug)
    return [where, *first_cause(outcome.cause, log, outcome.way_out)]


def stopped(result: RunResult, files: RunFiles) -> str:
    """Return how far a run came that was stopped, and the command that resumes it."""
    saved, again = files.last_checkpoint(), f"launcher run --resume {shown(files.directory)}"
    kept = f"; the last checkpoint is of step {saved}" if saved else "; no checkpoint"
    return f"stopped at step {result.steps} after {clock(result.wall_s)}{kept}; to continue: {again}"


def first_cause(cause: Cause, log: Path, way_out: str = "") -> list[str]:
    """Return the first cause as the screen shows it last: task, error, the user's code, where to read on.

    ``way_out`` is what to do if the tasks' network reaches nothing outside and the job wanted it to.
    """
    code = [f"  {line}" for line in (cause.record or {}).get("code", [])]
    if cause.record is None:
        code = [f"  {line}" for line in _last_lines(log)]
    hint = [f"  {way_out}"] if way_out and _CUT_OFF.search(_told(cause, code)) else []
    return [cause.described_as(f"{cause.task} failed: "), *code, *hint, f"  full log: {shown(log)}"]


def _told(cause: Cause, code: Sequence[str]) -> str:
    return "\n".join([cause.error, (cause.record or {}).get("traceback", ""), *code])


def run_directory(directory: Path) -> str:
    """Return where the results are."""
    return f"run directory: {shown(directory)}"


def shown(path: Path) -> Path:
    """Return the path as short as it can be from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def print_last(lines: Sequence[str]) -> None:
    """Print the last lines of all, whether or not they can still be read."""
    try:
        output = BufferedOutput(stream())
        output.write("".join(f"{printable(line)}\n" for line in lines))
        output.finish()
    except OSError:
        sys.stdout = None  # noqa: TID251  # nobody does, and the interpreter must not try again at its exit


def _last_lines(log: Path) -> Sequence[str]:
    if not log.exists():
        return []
    with log.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - _LOG_END)
        file.seek(start)
        lines = file.read(_LOG_END).decode("utf-8", errors="replace").split("\n")
    if start and len(lines) > 1:
        del lines[0]  # its beginning is missing
    noise = NoiseFilter()
    return [line for line in lines if not noise.is_noise(line) and line.strip()][-_LAST_LINES:]
