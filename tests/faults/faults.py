"""Faults: what is done to a running cluster. Each function returns what undoes it, if anything has to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.faults.cluster import SLOW_BATCHES, SLOW_STEP
from tests.faults.scenario import LAUNCHER, SPAWNER, Scenario
from tests.faults.watched import TooLate, Watched

SLOW_FOR = 4.0  # seconds that a slow process is stopped half of the time
SLICE = 0.05  # seconds
TWICE = 0.035  # seconds between the two hang-ups that the end of a session can be
SLOW_STEPS = 4  # which together take longer than the run lets nothing happen
KILLED_IN = 60.0  # seconds in which the kernel kills a process that takes too much memory


def strike(run: Watched, scenario: Scenario) -> None:
    """Do it; TooLate if the process, or the run, is over."""
    try:
        FAULTS[scenario.fault](run, scenario.target)
    except psutil.NoSuchProcess:
        raise TooLate from None


def _slow_down(run: Watched, target: str) -> None:
    process, until = run.process(target), time.monotonic() + SLOW_FOR
    process.suspend()
    with suppress(psutil.NoSuchProcess):  # it was slow until its own end
        while time.monotonic() < until:
            for act in (process.resume, process.suspend):
                time.sleep(SLICE)
                act()
        process.resume()


def _hang_up_twice(run: Watched, target: str) -> None:
    launcher = run.process(target)
    launcher.send_signal(signal.SIGHUP)
    time.sleep(TWICE)
    with suppress(psutil.NoSuchProcess):
        launcher.send_signal(signal.SIGHUP)


def _stop_spawner(run: Watched, target: str) -> None:
    run.process(SPAWNER).suspend()
    if target == LAUNCHER:
        run.process(LAUNCHER).terminate()


def _take_longer_for_steps(run: Watched, target: str) -> None:
    with _told(run, f"slow-{target}"):
        time.sleep(SLOW_STEPS * SLOW_STEP)


def _eat_memory(run: Watched, target: str) -> None:
    process = run.process(target)
    with _told(run, f"eat-{target}"):
        psutil.wait_procs([process], timeout=KILLED_IN)


def _slow_down_skipping(run: Watched, target: str) -> None:
    """End a run, or one of its tasks, that then has to skip batches which come slowly."""
    if target == LAUNCHER:
        (run.place.directory / SLOW_BATCHES).touch()
        run.process(LAUNCHER).terminate()
        return
    process = run.process(target)
    with _told(run, SLOW_BATCHES):
        process.kill()
        run.await_skipped()


def hurry(run: Watched) -> None:
    """Let batches come quickly again, once a run that was resumed has skipped those that it had made."""
    with suppress(TooLate):
        run.await_skipped()
    (run.place.directory / SLOW_BATCHES).unlink()


@contextmanager
def _told(run: Watched, what: str) -> Iterator[None]:
    """Let the job do something for as long as the block takes."""
    file = run.place.directory / what
    file.touch()
    try:
        yield
    finally:
        file.unlink()


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


FAULTS: Mapping[str, Callable[[Watched, str], object]] = {
    "kill": lambda run, target: run.process(target).kill(),
    "stop": lambda run, target: run.process(target).suspend(),
    "term": lambda run, target: run.process(target).terminate(),
    "slow": _slow_down,
    "disk full": lambda run, _: fill(run.files.parent),
    "closed stdout": lambda run, _: run.close_stdout(),
    "corrupt checkpoint": lambda run, target: run.process(target).terminate(),
    "hang-up twice": _hang_up_twice,
    "spawner stopped": _stop_spawner,
    "out of memory": _eat_memory,
    "slow step": _take_longer_for_steps,
    "big checkpoint": lambda run, target: run.process(target).kill(),
    "slow skip": _slow_down_skipping,
}
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
