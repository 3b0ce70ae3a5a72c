"""RunResult: how a run ended, as result.json has it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from launcher.plan.plan import Plan
from launcher.rundir import RunFiles
from launcher.supervise.causes import Cause
from launcher.supervise.supervisor import Supervisor

Status = Literal["done", "failed", "stopped"]


@dataclass(frozen=True)
class RunResult:
    """How a run ended. Times are in seconds since the launcher began; ``attempts`` counts resumed runs in."""

    status: Status
    exit_code: int
    mode: str
    strategy: str
    communication: str  # as the plan has it
    reason: str  # for this strategy and this communication
    world_size: int
    steps: int
    metrics: Mapping[str, Any]
    attempts: int
    wall_s: float
    time_to_first_step_s: float | None
    steps_per_s: float | None
    cause: Mapping[str, Any] | None  # the task that it goes back to, the error, and the file that tells of it
    left_out: Sequence[str] = field(default_factory=list)  # workers that could not be brought back
    updates: Mapping[str, int] | None = None  # asynchronous: how many were applied, how many of them perhaps twice

    def to_dict(self) -> dict[str, Any]:
        """Return the content of result.json."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """A RunResult with the cause that only the screen needs in full."""

    result: RunResult
    cause: Cause | None = None

    @property
    def exit_code(self) -> int:
        """The launcher's exit code."""
        return self.result.exit_code


def conclude(plan: Plan, files: RunFiles, supervisor: Supervisor, began: float, now: float) -> Outcome:
    """Return how the run ended; ``began`` is when the launcher began, in the seconds of ``time.monotonic``."""
    told, status, first = supervisor.result or {}, _status(supervisor), supervisor.progress.first_step_at
    cause, left_out = supervisor.cause if status == "failed" else None, supervisor.lost_workers.left_out
    result = RunResult(
        status=status,
        exit_code=_exit_code(status, supervisor),
        mode=plan.spec.mode,
        strategy=plan.strategy,
        communication=plan.communication,
        reason=plan.reason,
        world_size=plan.world_size - sum(task.devices for task in plan.tasks if task.task in left_out),
        steps=told.get("steps", supervisor.progress.latest.get("step", 0)),
        metrics=told.get("metrics", {}),
        attempts=max(supervisor.attempts.values()),
        wall_s=round(now - began, 3),
        time_to_first_step_s=None if first is None else round(first - began, 3),
        steps_per_s=told.get("steps_per_s"),
        cause=None if cause is None else _describe(cause, files, supervisor.attempts[cause.task]),
        left_out=[str(task) for task in left_out],
        updates=told.get("updates"),
    )
    return Outcome(result, cause)


def _status(supervisor: Supervisor) -> Status:
    if supervisor.done:
        return "done"
    return "failed" if supervisor.cause or not supervisor.stopped_by else "stopped"


def _exit_code(status: Status, supervisor: Supervisor) -> int:
    if status == "stopped":
        return 130 if supervisor.stopped_by == signal.SIGINT else 143
    cause = supervisor.cause
    return 0 if status == "done" else cause.exit_code if cause else 1


def _describe(cause: Cause, files: RunFiles, attempt: int) -> Mapping[str, Any]:
    file = (files.error if cause.record else files.log)(attempt, cause.task.slug)
    return {"task": str(cause.culprit), "error": cause.error, "file": str(file.relative_to(files.directory))}
