"""Reporter: what a task writes to the run's files, and sends to the launcher that started it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.contract.context import TaskContext
from launcher.contract.history import Record, folded, is_report, refuse_own_names
from launcher.contract.reports import encode, send
from launcher.contract.roles import Role
from launcher.errors import LauncherError
from launcher.rundir import RunFiles
from launcher.runtime.figures import plain
from launcher.whole_files import append_json, read_lines

if TYPE_CHECKING:
    from launcher.runtime.job import Job  # with TensorFlow, which a task that fails early may not have yet


class Reporter:
    """Sends one task's events: ``tell`` reaches the launcher, ``report`` reaches metrics.jsonl as well."""

    def __init__(self, context: TaskContext) -> None:
        self._pipe = Path(context.reports) if context.reports else None
        self._files = RunFiles(Path(context.run_directory))
        self._writes = context.is_leader or context.role is Role.EVALUATE
        self._task = str(context.task)
        self._started = time.monotonic()
        self._attempt = context.attempt
        self._resumed_at: int | None = 0 if context.is_leader else None
        # Seconds of the whole run until this task began.
        self._before = context.ran_before + (max(0.0, time.time() - context.launched) if context.launched else 0.0)
        self.history: list[Record] = []

    def tell(self, event: str, **details: Any) -> None:
        """Send one event to the launcher that started this task, if one did and lives."""
        self._send(encode({"event": event} | details))

    def _send(self, line: bytes) -> None:
        if self._pipe:
            send(self._pipe, line)

    def report(
        self, job: Job, step: int, figures: Mapping[str, Any], step_times: Mapping[str, float] | None = None
    ) -> Record:
        """Record the job's figures at a step, tell them, and return the record.

        LauncherError if the disk fails, or if the figures are too long, are none, or have a name of the record's own.

        ``step_times`` has each worker's own seconds per step, if they are known.
        """
        epoch = step // job.steps_per_epoch if job.steps_per_epoch else 0
        refuse_own_names(shown := plain(figures))
        when = {"time": round(self._before + time.monotonic() - self._started, 3), "wall_time": round(time.time(), 3)}
        attempt = {"attempt": self._attempt, "resumed_at": self._resumed_at, "task": self._task}
        record = {"step": step, "epoch": epoch} | when | attempt | shown
        times = {"step_times": step_times} if step_times else {}
        line = encode({"event": "progress", "step": step, "steps": job.steps, "figures": shown} | times)
        self.history.append(record)
        if self._writes:
            self._write(record)
        self._send(line)
        return record

    def _write(self, record: Mapping[str, Any]) -> None:
        try:
            append_json(self._files.metrics, record)
        except OSError as error:
            path, why = self._files.metrics, error.strerror
            raise LauncherError(f"the report of step {record['step']} cannot be written to {path}: {why}") from error

    def last_step(self) -> int:
        """Return the last step that this task has reported, in any attempt; 0 if it has reported none."""
        return max((record["step"] for record in self._records() if record["task"] == self._task), default=0)

    def resume_at(self, step: int) -> None:
        """Read the history of the attempts before, without what was reported after the checkpoint at ``step``."""
        records = self._records()
        self.history = [record for record in records if record["step"] <= step and record["task"] == self._task]
        self._resumed_at = None if self._resumed_at is None else step
        # The clock may have been set back since the last report.
        last = max((record.get("time", 0.0) for record in records), default=0.0)
        self._before = max(self._before, last - (time.monotonic() - self._started))

    def _records(self) -> list[Record]:
        return folded(record for record in read_lines(self._files.metrics)[0] if is_report(record))
