"""A run that is watched from outside: what it prints, how far it is, and its processes."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil

from tests.faults.scenario import LAUNCHER, SPAWNER
from tests.support.jobs import IN_THE_MIDDLE
from tests.support.processes import spawner_process, task_process
from tests.support.workplace import Ran, Workplace, records

LOOK_EVERY = 0.002  # seconds; a checkpoint takes about ten times as long
REPORT = "Epoch: "
LAST = f"{REPORT}0100"  # the job's last report


class TooLate(Exception):
    """The run was over before the moment came."""


class Watched:
    """One start of the launcher in a workplace."""

    def __init__(self, place: Workplace, *arguments: str) -> None:
        self.place, self.files = place, place.directory / "runs" / "latest"
        self.launcher = place.start("run", *arguments)
        self._lines: list[str] = []
        self._deaf = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.launcher.stdout is not None
        for line in self.launcher.stdout:
            self._lines.append(line)
            if self._deaf.is_set():
                self.launcher.stdout.close()
                return

    def close_stdout(self) -> None:
        """Read no more of what the launcher prints, as a terminal that is gone."""
        self._deaf.set()

    @property
    def output(self) -> str:
        """What was printed so far."""
        return "".join(self._lines)

    def process(self, target: str) -> psutil.Process:
        """Return the target's process; TooLate if it is gone."""
        if target == LAUNCHER:
            return psutil.Process(self.launcher.pid)
        try:
            return spawner_process(self.launcher) if target == SPAWNER else task_process(self.launcher, target)
        except (AssertionError, psutil.Error):
            raise TooLate from None

    def await_moment(self, moment: str, target: str) -> None:
        """Return when the moment has come; TooLate if the run is over before that."""
        there = {
            "start": lambda: target in (LAUNCHER, SPAWNER) or self._is("started", target),
            "rendezvous": lambda: self._is("meeting", target),
            "first step": lambda: "training" in self._states(None),
            "middle": lambda: IN_THE_MIDDLE in self.output,
            "checkpoint": self._is_writing,
            "end": lambda: LAST in self.output,
        }[moment]
        self.await_(there)

    def await_skipped(self) -> None:
        """Return when an attempt that has resumed has made steps of its own; TooLate if the run ends before that."""
        self.await_(lambda: REPORT in self.output.rpartition("resumed at step")[2] and "resumed at" in self.output)

    def await_(self, there: Callable[[], bool]) -> None:
        """Return when it is so; TooLate if the launcher has ended before that."""
        while not there():
            if self.launcher.poll() is not None:
                raise TooLate
            time.sleep(LOOK_EVERY)

    def _is(self, state: str, target: str) -> bool:
        return any(
            state in self._states(task) for task in (self._tasks() if target in (LAUNCHER, SPAWNER) else [target])
        )

    def _is_writing(self) -> bool:
        return any(self.files.glob("checkpoints/step-*")) and any(self.files.glob("checkpoints/.step-*"))

    def _tasks(self) -> set[str]:
        return {event["task"] for event in self.events() if event["task"]}

    def _states(self, task: str | None) -> set[str]:
        return {event["state"] for event in self.events() if event["task"] == task}

    def events(self) -> list[dict[str, Any]]:
        """Return the events so far."""
        events = self.files / "events.jsonl"
        return records(events) if events.exists() else []

    def end(self, seconds: float) -> Ran:
        """Wait for the launcher's end; subprocess.TimeoutExpired if it does not come in time."""
        try:
            self.launcher.wait(seconds)
        except subprocess.TimeoutExpired:
            self.launcher.kill()
            self.launcher.wait()
            raise
        self._reader.join(timeout=5)
        return Ran(self.launcher.returncode, self.output, self.place.directory)
