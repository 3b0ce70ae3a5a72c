"""What every engine's run waits in."""

from __future__ import annotations

import os
import selectors
import signal

import pytest

from launcher.contract.task import Task
from launcher.engines.event_loop import EventLoop
from tests.unit.engines.local.conftest import Watched, nobody_reads


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_a_call_of_the_loop_and_of_no_handler(number: int) -> None:
    taken: list[int] = []
    loop = EventLoop(Watched(), taken.append)
    with loop.signals():
        os.kill(os.getpid(), number)
        assert taken == []
        loop.wait(5.0)
        assert taken == [number]
    os.kill(os.getpid(), number)  # again, as shells do, while the launcher says how the run ended
    assert taken == [number]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_loop_that_no_signal_came_to_leaves_signals_as_they_were(number: int) -> None:
    before = signal.getsignal(number)
    with EventLoop(Watched(), list[int]().append).signals():
        assert signal.getsignal(number) is not before
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_was_ignored_stays_ignored(number: int) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    taken: list[int] = []
    loop = EventLoop(Watched(), taken.append)
    try:
        with loop.signals():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM if number != signal.SIGTERM else signal.SIGINT)
            while not taken:
                loop.wait(5.0)
        assert number not in taken
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_whoever_reads_no_more_does_not_end_a_run_that_ignores_hang_ups() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    screen, taken = Watched(), list[int]()
    screen.on_note = nobody_reads
    loop = EventLoop(screen, taken.append)
    try:
        with loop.signals():
            loop.say("one")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert taken == []


def test_whoever_reads_no_more_hangs_up_once() -> None:
    screen, taken = Watched(), list[int]()
    screen.on_note = nobody_reads
    loop = EventLoop(screen, taken.append)
    loop.say("one")
    loop.line(Task("worker", 0), "two")
    assert taken == [signal.SIGHUP]
    assert screen.lines == []  # nothing is shown any more


def test_a_screen_that_goes_after_a_signal_is_no_second_signal() -> None:
    screen, taken = Watched(), list[int]()
    screen.on_note = nobody_reads
    loop = EventLoop(screen, taken.append)
    with loop.signals():
        os.kill(os.getpid(), signal.SIGTERM)
        loop.wait(5.0)
        loop.say("stopping")
    assert taken == [signal.SIGTERM]


def test_what_was_closed_by_a_call_of_the_same_round_is_not_called() -> None:
    loop, called = EventLoop(Watched(), lambda _: None), list[str]()
    pipes = [os.pipe() for _ in range(2)]

    def read(name: str) -> None:
        called.append(name)
        for read_end, _ in pipes:
            loop.selector.unregister(read_end)

    for number, (read_end, write_end) in enumerate(pipes):
        os.write(write_end, b"x")
        loop.selector.register(read_end, selectors.EVENT_READ, lambda name=str(number): read(name))
    loop.wait(5.0)
    assert len(called) == 1
    for descriptor in [end for pipe in pipes for end in pipe]:
        os.close(descriptor)
