"""What is printed: harmless for people, as it is for programs, in every encoding."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.terminal.printing import give, say, styled

ROOT = Path(__file__).parents[3]


def test_only_a_style_of_our_own_reaches_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    say(styled("a\x1b[2J", bold=True), " b\x1b[31m")
    assert capsys.readouterr().out == "\x1b[1ma\\x1b[2J\x1b[0m b\\x1b[31m\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colours_gets_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv(name, value)
    say(styled("a", fg="red"))
    assert capsys.readouterr().out == "a\n"


def test_what_follows_a_new_line_is_indented_and_style_is_left_out_in_a_pipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say(styled("a\nb", fg="red"), "c\nd", err=True)
    assert capsys.readouterr().err == "a\n  bc\n  d\n"


def test_a_program_gets_every_character_and_a_terminal_none_that_controls_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    give("\x1b[31ma\u202e")
    assert capsys.readouterr().out == "\x1b[31ma\u202e\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    give("\x1b[31ma\u202e")
    assert capsys.readouterr().out == "\\x1b[31ma\\u202e\n"


def test_a_character_that_the_terminal_does_not_know_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, encoding="ascii"))
    say("a → b")
    assert kept.getvalue() == b"a ? b\n"


def test_a_program_is_never_given_another_text(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("job: hello\nargs: {a: 日}\ncluster: {worker: 1}\n", encoding="utf-8")
    command = [sys.executable, "-m", "launcher", "config", "get", "args.a"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"}
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == "the output is latin-1, which has no '\\u65e5'; set PYTHONIOENCODING=utf-8\n"
