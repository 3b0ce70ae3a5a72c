"""A reader that pauses, or never comes back, on a real pipe and on a real terminal."""

from __future__ import annotations

import os
import pty
import termios
from collections.abc import Iterator
from typing import TextIO

import pytest

from launcher.terminal import output as module
from launcher.terminal.output import BufferedOutput

MORE_THAN_A_PIPE_TAKES = [f"line {number} │ {'x' * 100}\n" for number in range(2_000)]


class Pipe:
    """A pipe, and what writes into it."""

    def __init__(self) -> None:
        self.read_end, write_end = os.pipe()
        self.stream: TextIO = os.fdopen(write_end, "w", encoding="utf-8")
        self.output = BufferedOutput(self.stream)

    def read(self, size: int = 1 << 16) -> bytes:
        return os.read(self.read_end, size)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    there = Pipe()
    yield there
    os.close(there.read_end)
    there.stream.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.01)


def test_what_was_written_before_comes_before_and_a_flush_or_much_text_keeps_nothing(pipe: Pipe) -> None:
    pipe.stream.write("before, ")
    output = BufferedOutput(pipe.stream)
    output.write("after")
    assert output.is_behind
    output.flush()
    assert pipe.read() == b"before, after"
    output.write("x" * 2**16)
    assert pipe.read().startswith(b"xxx")


def test_a_reader_who_pauses_blocks_no_writer_and_gets_everything_in_order(pipe: Pipe) -> None:
    for line in MORE_THAN_A_PIPE_TAKES:
        pipe.output.write(line)
    assert pipe.output.is_behind
    seen = b""
    while pipe.output.is_behind:
        seen += pipe.read()
        pipe.output.flush()
    pipe.stream.close()
    while more := pipe.read():
        seen += more
    assert seen.decode() == "".join(MORE_THAN_A_PIPE_TAKES)


@pytest.mark.usefixtures("impatient")
def test_a_reader_who_pauses_too_long_is_an_error(pipe: Pipe) -> None:
    with pytest.raises(TimeoutError, match="nobody has read the output"):
        pipe.output.write("x" * 2 * module._MOST)
    assert not pipe.output.is_behind  # and who ends now has not to wait again
    pipe.output.finish()


@pytest.mark.usefixtures("impatient")
def test_the_end_does_not_wait_for_ever(pipe: Pipe) -> None:
    pipe.output.write("".join(MORE_THAN_A_PIPE_TAKES))
    with pytest.raises(TimeoutError):
        pipe.output.finish()


def test_a_pipe_that_is_closed_surfaces_with_the_next_flush(pipe: Pipe) -> None:
    read_end, pipe.read_end = pipe.read_end, os.open(os.devnull, os.O_RDONLY)
    os.close(read_end)
    pipe.output.write("x")
    with pytest.raises(BrokenPipeError):
        pipe.output.flush()


def test_a_terminal_that_is_paused_with_ctrl_s_blocks_no_writer() -> None:
    screen, keyboard = pty.openpty()
    with os.fdopen(keyboard, "w", encoding="utf-8") as stream:
        output = BufferedOutput(stream)
        termios.tcflow(keyboard, termios.TCOOFF)
        output.write("kept")
        assert (output.isatty(), output.is_behind) == (True, True)
        termios.tcflow(keyboard, termios.TCOON)
        output.finish()
        assert os.read(screen, 100) == b"kept"
    os.close(screen)
