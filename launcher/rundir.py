"""A run's directory: every file of a run has its name here, and only here."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from launcher.errors import UsageError, did_you_mean, listing
from launcher.text import counted
from launcher.whole_files import read_json, read_lines

LATEST = "latest"
_CHECKPOINT = "step-"
_LONGEST_RUN = 1e10  # seconds, three centuries


def checkpoint_name(step: int) -> str:
    """Return the name of the directory of one step's checkpoint; such names sort as their steps do."""
    return f"{_CHECKPOINT}{step:010d}"


def attempt_of(path: Path) -> int:
    """Return the attempt that a log or an error of a run is of."""
    return int(path.parent.name.rpartition("-")[2])


def run_names(output: Path) -> list[str]:
    """Return the names of all runs in a directory, with ``latest`` if there is a newest one."""
    return sorted(path.parent.name for path in output.glob("*/plan.json"))


@dataclass(frozen=True)
class RunFiles:
    """The paths of one run's files and directories; ``directory`` is the run's own. Nothing is read or created."""

    directory: Path

    @property
    def name(self) -> str:
        """The run's name: that of its directory."""
        return self.directory.name

    @property
    def cluster_file(self) -> Path:
        """The cluster file of the run, after --set."""
        return self.directory / "cluster.yaml"

    @property
    def plan(self) -> Path:
        """What was placed where."""
        return self.directory / "plan.json"

    @property
    def events(self) -> Path:
        """Every change of a task's state, with time and cause."""
        return self.directory / "events.jsonl"

    @property
    def compose(self) -> Path:
        """The compose file of a run in containers."""
        return self.directory / "compose.yaml"

    @property
    def compose_plan(self) -> Path:
        """The plan as the containers read it, with their own paths."""
        return self.compose.with_suffix(".plan.json")

    @property
    def metrics(self) -> Path:
        """A line per report: step, epoch, time, the job's own figures."""
        return self.directory / "metrics.jsonl"

    @property
    def result(self) -> Path:
        """How the run ended."""
        return self.directory / "result.json"

    @property
    def checkpoints(self) -> Path:
        """The directory of the run's checkpoints."""
        return self.directory / "checkpoints"

    def last_checkpoint(self) -> int:
        """Return the step of the newest checkpoint; 0 if there is none."""
        numbers = (path.name.removeprefix(_CHECKPOINT) for path in self.checkpoints.glob(f"{_CHECKPOINT}*"))
        return max((int(number) for number in numbers if number.isdecimal()), default=0)

    @property
    def model(self) -> Path:
        """The directory of the exported SavedModel."""
        return self.directory / "model"

    def picture(self, name: str) -> Path:
        """A picture that the job draws."""
        return self.directory / f"{name}.png"

    def log(self, attempt: int, slug: str) -> Path:
        """Everything that one task printed in one attempt."""
        return self.directory / "logs" / f"attempt-{attempt}" / f"{slug}.log"

    def error(self, attempt: int, slug: str) -> Path:
        """The error of one task in one attempt."""
        return self.directory / "errors" / f"attempt-{attempt}" / f"{slug}.json"

    def errors(self) -> Iterator[tuple[int, Path]]:
        """Yield the attempt and the file of each error that a task has written down."""
        for path in self.directory.glob("errors/attempt-*/*.json"):
            yield attempt_of(path), path

    def lock(self, slug: str) -> Path:
        """The lock of the launcher that runs one task."""
        return self.directory / "locks" / f"{slug}.lock"

    @property
    def has_begun(self) -> bool:
        """Whether a task was started, or a launcher is about to start one."""
        return any((self.directory / name).exists() for name in ("logs", "locks"))

    def prepare_attempt(self, attempt: int) -> None:
        """Make the directories that an attempt's logs and errors go to."""
        self.log(attempt, "").parent.mkdir(parents=True, exist_ok=True)
        self.error(attempt, "").parent.mkdir(parents=True, exist_ok=True)

    def next_attempt(self, slugs: Iterable[str]) -> int:
        """Return the number of the first attempt in which none of these tasks has a log yet."""
        slugs = list(slugs)
        return next(number for number in count(1) if not any(self.log(number, slug).exists() for slug in slugs))

    def read_result(self) -> dict[str, Any] | None:
        """Return result.json, or None if the run has not ended."""
        if not self.result.exists():
            return None
        result = read_json(self.result)
        if missing := _missing(result):
            raise UsageError(f"{self.result} is damaged: it has no valid {missing[0]}; start a new run")
        return result

    def elapsed(self) -> float:
        """Return the seconds that the launchers of this run have taken until now, as far as its files tell.

        UsageError if one of them cannot be read.
        """
        result = self.read_result() or {}
        reports, events = read_lines(self.metrics)[0], read_lines(self.events)[0]
        told = [result.get("wall_s"), *(one.get("time") for one in reports), *(one.get("elapsed") for one in events)]
        return max(map(_seconds, told), default=0.0)

    def damaged(self) -> Iterator[str]:
        """Yield a sentence for each file of lines that has damaged ones."""
        for path in (self.metrics, self.events):
            if number := read_lines(path)[1]:
                yield f"{path} has {counted(number, 'line')} that cannot be read, left out from here on"

    @classmethod
    def create(cls, output: Path, name: str) -> RunFiles:
        """Make ``<output>/<name>-<UTC time>`` and point ``<output>/latest`` at it; UsageError if it cannot."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        try:
            _refuse_other_latest(output)
            output.mkdir(parents=True, exist_ok=True)
            directory = _make_new(output, f"{name}-{stamp}")
            point_latest(output, directory)
        except OSError as error:
            raise _cannot_write(output, error) from None
        return cls(directory)

    @classmethod
    def join(cls, output: Path, name: str) -> RunFiles:
        """Take ``<output>/<name>``, made if it does not exist: launchers that share it may start at the same moment."""
        directory = output / name
        try:
            _refuse_other_latest(output)
            directory.mkdir(parents=True, exist_ok=True)
            point_latest(output, directory)
        except OSError as error:
            raise _cannot_write(output, error) from None
        return cls(directory)

    @classmethod
    def find(cls, output: Path, run: str) -> RunFiles:
        """Return the run of that name under ``output``, or at that path; UsageError if there is none."""
        for directory in (output / run, Path(run)):
            if _is_run(directory):
                return cls(directory.resolve())
        known = [name for name in run_names(output) if name != LATEST]
        raise UsageError(
            f"there is no run {run!r}{did_you_mean(run, known) or listing('', known[:-6:-1], f'runs in {output}')}"
        )


def _missing(result: Mapping[str, Any]) -> list[str]:
    """Return what readers of a result need and do not find in it."""
    failed, cause = result.get("status") == "failed", result.get("cause")
    told = isinstance(cause, dict) and all(isinstance(cause.get(key), str) for key in ("task", "error", "file"))
    found = {
        "status": result.get("status") in ("done", "failed", "stopped"),
        "steps": type(result.get("steps")) is int,
        "exit_code": not failed or result.get("exit_code") in range(1, 256),
        "cause": told or (cause is None and not failed),
    }
    return [key for key, is_there in found.items() if not is_there]


def _seconds(value: object) -> float:
    """Return the value if a run can have taken so many seconds, and 0 if not."""
    return float(value) if isinstance(value, int | float) and 0 <= value < _LONGEST_RUN else 0.0  # as NaN is not


def _is_run(directory: Path) -> bool:
    try:
        return (directory / "plan.json").is_file()
    except OSError:  # a name that is too long for any file
        return False


def _make_new(output: Path, name: str) -> Path:
    # Two runs of the same second get names of their own; mkdir decides who was first.
    for number in count(1):
        directory = output / (name if number == 1 else f"{name}-{number}")
        try:
            directory.mkdir()
        except FileExistsError:
            continue
        return directory
    raise AssertionError("count() does not end")


def _cannot_write(output: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write to the output directory {output}: {error.strerror}; set run.output")


def _refuse_other_latest(output: Path) -> None:
    latest = output / LATEST
    if latest.exists() and not latest.is_symlink():
        what = "a directory" if latest.is_dir() else "a file"
        raise UsageError(
            f"{latest} is {what}, and the launcher's link to the newest run belongs there: move it away, "
            "or set run.output"
        )


def point_latest(output: Path, directory: Path) -> None:
    """Let ``latest`` point at a run of this output directory."""
    beside = output / f".{directory.name}.{secrets.token_hex(4)}.{LATEST}"
    beside.symlink_to(directory.name)
    os.replace(beside, output / LATEST)
