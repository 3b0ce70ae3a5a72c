"""What a run's watcher sees: on a real terminal, in a pipe, and where nobody reads any more."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.contract.task import Task
from launcher.terminal import screen as module
from launcher.terminal.screen import TerminalScreen, clock

ROOT = Path(__file__).parents[3]
WORKER, CHIEF = Task("worker", 10), Task("chief", 0)
PROGRESS = {"step": 1_500, "steps": 3_000, "figures": {"devices": 2, "W": [1.0], "cost": 0.0769288, "b": 0.5}}
USE = """
import json, os, sys
from launcher.contract.task import Task
from launcher.terminal.screen import TerminalScreen

with TerminalScreen([Task("worker", 0)], **json.loads(sys.argv[1])) as screen:
    try:
        screen.note("begins")
        screen.progress({"step": 1, "steps": 2, "figures": {}})
        sys.stdin.readline()
        for number in range(1_001):
            screen.line(Task("worker", 0), f"line {number}")
        screen.progress({"step": 2, "steps": 2, "figures": {}})
    except OSError:
        os.write(2, b"nobody reads, ")
os.write(2, b"left")
os._exit(0)
"""


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The screen's clock, which stands still until it is set."""
    seconds = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    return seconds


class Drawing:
    """Stands in for the live line, and keeps what is drawn."""

    def __init__(self, drawn: list[str]) -> None:
        self._drawn = drawn

    def update(self, text: object, *, refresh: bool) -> None:
        self._drawn.append(str(text))


def test_times_are_shown_as_on_a_clock() -> None:
    shown = [clock(seconds) for seconds in (0, 7.9, 60, 750, 3599, 3600, 3723, 360_000)]
    assert shown == ["0:00", "0:07", "1:00", "12:30", "59:59", "1:00:00", "1:02:03", "100:00:00"]


# In a pipe


def test_piped_lines_are_plain_prefixed_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalScreen([WORKER, CHIEF]) as screen:
        screen.note("begins")
        screen.line(WORKER, "one [bold]two[/bold] \\ 100%")
        screen.line(CHIEF, "")
    assert capsys.readouterr().out == "begins\nworker:10 │ one [bold]two[/bold] \\ 100%\nchief:0   │ \n"


def test_if_the_reader_knows_the_task_a_line_is_shown_as_it_was_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalScreen([WORKER], prefixed=False) as screen:
        screen.note("begins")
        screen.line(WORKER, "one [bold]two[/bold] \\ 100%")
        screen.line(WORKER, "")
    assert capsys.readouterr().out == "begins\none [bold]two[/bold] \\ 100%\n\n"


def test_a_long_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalScreen([CHIEF]) as screen:
        screen.line(CHIEF, "x" * 10_000)
    assert capsys.readouterr().out.count("\n") == 1


def test_progress_is_not_shown_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalScreen([CHIEF]) as screen:
        screen.progress(PROGRESS)
    assert capsys.readouterr().out == ""


NASTY = "\x1bc\x1b]0;title\x07\x1b[2J\x9b1A\x08\u202e\x85worker:10 │ forged"


def test_what_a_task_or_a_message_carries_is_shown_harmless_and_never_as_another_s_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TerminalScreen([WORKER, CHIEF]) as screen:
        screen.line(CHIEF, NASTY)
        screen.line(CHIEF, "\x1b[31mred")
        screen.note(f"failed: {NASTY}\nworker:10 │ forged")
    harmless = "\\x1bc\\x1b]0;title\\x07\\x1b[2J\\x9b1A\\x08\\u202e\\x85worker:10 │ forged"
    assert capsys.readouterr().out == (
        f"chief:0   │ {harmless}\nchief:0   │ \x1b[31mred\x1b[0m\nfailed: {harmless}\n  worker:10 │ forged\n"
    )


# The live line


def test_a_figure_s_name_is_harmless_on_the_live_line() -> None:
    drawn: list[str] = []
    screen = TerminalScreen([CHIEF])
    vars(screen)["_live"] = Drawing(drawn)
    screen.progress({"step": 1, "figures": {"\x1bc\n\u202ecost": 1.0}})
    (line,) = drawn
    assert "\\x1bc\\n\\u202ecost 1" in line


def test_before_the_first_step_the_live_line_says_that_the_run_starts(now: list[float]) -> None:
    screen = TerminalScreen([CHIEF])
    now[0] += 5
    assert screen._describe({}, now[0]) == "starting · 0:05 elapsed"


def test_the_live_line_has_step_speed_the_first_figure_and_both_times(now: list[float]) -> None:
    screen = TerminalScreen([CHIEF])
    now[0] += 10
    screen.progress(PROGRESS | {"step": 500})
    now[0] += 4
    assert screen._describe(PROGRESS, now[0]) == (
        "step 1,500/3,000 · 250 steps/s · cost 0.076929 · 0:14 elapsed · 0:06 left"
    )


def test_without_a_second_step_there_is_no_speed_and_no_remaining_time(now: list[float]) -> None:
    screen = TerminalScreen([CHIEF])
    now[0] += 10
    screen.progress({"step": 500, "steps": 3_000, "figures": {}})
    now[0] += 4
    assert screen._describe({"step": 500, "steps": 3_000, "figures": {}}, now[0]) == "step 500/3,000 · 0:14 elapsed"


@pytest.mark.parametrize(
    ("phase", "shown"),
    [
        ({"phase": "import"}, "importing TensorFlow"),
        ({"phase": "build"}, "building"),
        ({"phase": "data"}, "waiting for data"),
        ({"phase": "data", "skipped": 1_200, "to_skip": 17_000}, "skipping 1,200 of 17,000 batches"),
        ({"phase": "data", "waits_for": "worker:1"}, "worker:1: waiting for data"),
        ({"phase": "evaluate", "step": 1_200, "figures": {}}, "evaluating · step 1,200"),
        ({"phase": "save", "step": 1_200, "figures": {}}, "saving · step 1,200"),
        ({"phase": "report", "step": 1_200, "figures": {}}, "reporting · step 1,200"),
    ],
)
def test_the_live_line_names_the_phase_that_is_not_training(
    now: list[float], phase: dict[str, object], shown: str
) -> None:
    screen = TerminalScreen([CHIEF])
    assert screen._describe(phase, now[0] + 5) == f"{shown} · 0:05 elapsed"


# On a terminal


class Terminal:
    """A terminal with a program on it."""

    def __init__(self, **keys: bool) -> None:
        self.screen, keyboard = pty.openpty()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "100"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", USE, json.dumps(keys)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=keyboard,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(keyboard)

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def read_until(self, word: str) -> str:
        seen = ""
        while word not in seen:
            seen += os.read(self.screen, 65536).decode(errors="replace")
        return seen


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    there = Terminal(**getattr(request, "param", {}))
    yield there
    there.process.kill()
    there.process.communicate()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_a_terminal_gets_coloured_prefixes_and_a_live_line(terminal: Terminal) -> None:
    seen = terminal.read_until("step 1/2")
    terminal.go_on()
    seen += terminal.read_until("line 1000")
    assert "\x1b[36mworker:0 │ " in seen
    lines = [line.strip() for line in plain(seen).replace("\r", "\n").split("\n")]
    assert lines[0] == "begins"
    assert [line for line in lines if line.endswith("line 500")] == ["worker:0 │ line 500"]
    os.close(terminal.screen)


@pytest.mark.parametrize("terminal", [{"prefixed": False}], indirect=True)
def test_a_terminal_shows_lines_without_a_prefix_if_none_is_wanted(terminal: Terminal) -> None:
    terminal.read_until("step 1/2")
    terminal.go_on()
    lines = [line.strip() for line in plain(terminal.read_until("line 1000")).replace("\r", "\n").split("\n")]
    assert [line for line in lines if line.endswith("line 500")] == ["line 500"]
    os.close(terminal.screen)


def test_a_terminal_that_dies_surfaces_as_oserror_and_the_screen_is_left_all_the_same(terminal: Terminal) -> None:
    terminal.read_until("step 1/2")
    os.close(terminal.screen)
    _, said = terminal.process.communicate("\n", timeout=60)
    assert said == "nobody reads, left"


@pytest.mark.parametrize("seen", [0, 6], ids=["from the start", "later"])
@pytest.mark.parametrize("colour", ["", "1"], ids=["plain", "FORCE_COLOR"])
def test_a_pipe_that_nobody_reads_surfaces_as_oserror_and_the_screen_is_left_all_the_same(
    colour: str, seen: int
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FORCE_COLOR": colour}
    read_end, write_end = os.pipe()
    if not seen:
        os.close(read_end)
    with subprocess.Popen(
        [sys.executable, "-c", USE, "{}"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(write_end)
        if seen:
            assert os.read(read_end, seen)
            os.close(read_end)
        _, said = process.communicate("\n", timeout=60)
    assert said == "nobody reads, left"


def test_the_live_line_is_not_redrawn_more_often_than_an_eye_can_follow(now: list[float]) -> None:
    drawn: list[str] = []
    screen = TerminalScreen([CHIEF])
    vars(screen)["_live"] = Drawing(drawn)
    for _ in range(100):
        now[0] += module._REDRAW / 10
        screen.progress(PROGRESS)
    assert 9 <= len(drawn) <= 11
