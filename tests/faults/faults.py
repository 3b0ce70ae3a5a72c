"""Faults: what is done to a running cluster. Each function returns what undoes it, if anything has to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from tests.faults.scenario import LAUNCHER, Scenario
from tests.faults.watched import TooLate, Watched

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}
SLOW_FOR = 4.0  # seconds that a slow process is stopped half of the time
SLICE = 0.05  # seconds


def strike(run: Watched, scenario: Scenario) -> None:
    """Do it; TooLate if the process, or the run, is over."""
    try:
        match scenario.fault:
            case "slow":
                _slow_down(run.process(scenario.target))
            case "disk full":
                fill(run.files.parent)
            case "closed stdout":
                run.close_stdout()
            case "corrupt checkpoint":
                run.process(LAUNCHER).send_signal(signal.SIGTERM)
            case fault:
                run.process(scenario.target).send_signal(SIGNALS[fault])
    except psutil.NoSuchProcess:
        raise TooLate from None


def _slow_down(process: psutil.Process) -> None:
    until = time.monotonic() + SLOW_FOR
    process.suspend()
    with suppress(psutil.NoSuchProcess):  # it was slow until its own end
        while time.monotonic() < until:
            for act in (process.resume, process.suspend):
                time.sleep(SLICE)
                act()
        process.resume()


def fill(directory: Path) -> None:
    """Leave no space on the file system of this directory."""
    try:
        with (directory / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        pass


def free(directory: Path) -> None:
    """Undo ``fill``."""
    (directory / "filler").unlink(missing_ok=True)


CORRUPTIONS: tuple[Callable[[Path], object], ...] = (
    lambda file: os.truncate(file, file.stat().st_size // 2),
    lambda file: file.write_bytes(bytes(file.stat().st_size)),
    lambda file: file.unlink(),
)


def corrupt(run: Watched, how: int) -> str:
    """Damage the newest checkpoint and return its name."""
    found = sorted((run.files / "checkpoints").glob("step-*"))
    files = sorted(path for path in found[-1].iterdir() if path.stat().st_size)
    CORRUPTIONS[how % len(CORRUPTIONS)](files[how // len(CORRUPTIONS) % len(files)])
    return found[-1].name
