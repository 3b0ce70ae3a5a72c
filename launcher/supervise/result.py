"""RunResult: how a run ended, as result.json has it, concluded from what an engine knows of the end."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import TypeAdapter

from launcher.contract.task import Task
from launcher.errors import LauncherError, UsageError
from launcher.plan.plan import Plan
from launcher.rundir import RunFiles, attempt_of
from launcher.supervise.causes import Cause
from launcher.supervise.events import Exited

if TYPE_CHECKING:
    from launcher.supervise.supervisor import Supervisor

Status = Literal["done", "failed", "stopped"]
# What readers of an error.json need, and its kind.
_ERROR = {"task": str, "type": str, "message": str, "exit_code": int, "consequence": bool, "time_ns": int}


@dataclass(frozen=True)
class RunResult:
    """How a run ended. Times are in seconds: of the whole run, but until the first step since the launcher began."""

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
    left_out: Sequence[str] = field(default_factory=list)  # workers that could not be restarted
    resumed: Mapping[str, Any] | None = None  # steps and wall_s until this launcher began, if others ran this before
    updates: Mapping[str, int] | None = None  # asynchronous: how many were applied, how many of them perhaps twice

    def to_dict(self) -> dict[str, Any]:
        """Return the content of result.json."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """A RunResult with what only the screen needs: the run's files, the cause in full, and a remedy."""

    result: RunResult
    files: RunFiles
    cause: Cause | None = None
    attempt: int = 1  # in which the cause's task failed
    way_out: str = ""  # how the training code reaches what is outside the tasks' network; empty: it does

    @property
    def exit_code(self) -> int:
        """The launcher's exit code."""
        return self.result.exit_code


@dataclass(frozen=True)
class Ending:
    """What an engine knows of how a run ended."""

    status: Status
    exit_code: int
    attempts: int
    wall_s: float
    cause: Cause | None = None
    cause_attempt: int = 1  # in which its task failed
    told: Mapping[str, Any] = field(default_factory=dict)  # the leader's own result: steps, metrics, speed, updates
    step: int = 0  # of the last report, for a leader that told no result
    first_step_s: float | None = None
    left_out: Sequence[Task] = ()
    resumed: Mapping[str, Any] | None = None  # what launchers before have done: steps, and wall_s in seconds

    @classmethod
    def of(cls, supervisor: Supervisor, began: float, now: float) -> Self:
        """Return what a Supervisor knows; ``began`` is when the launcher began, in seconds of ``time.monotonic``."""
        status, first = _status(supervisor), supervisor.progress.first_step_at
        cause = supervisor.cause if status == "failed" else None
        return cls(
            status=status,
            exit_code=_exit_code(status, supervisor),
            attempts=max(supervisor.attempts.values()),
            wall_s=now - began,
            cause=cause,
            cause_attempt=1 if cause is None else supervisor.attempts[cause.task],
            told=supervisor.result or {},
            step=supervisor.progress.latest.get("step", 0),
            first_step_s=None if first is None else first - began,
            left_out=supervisor.lost_workers.left_out,
        )


def conclude(plan: Plan, files: RunFiles, ending: Ending) -> Outcome:
    """Return how the run ended."""
    told, cause = ending.told, ending.cause
    result = RunResult(
        status=ending.status,
        exit_code=ending.exit_code,
        mode=plan.spec.mode,
        strategy=plan.strategy,
        communication=plan.communication,
        reason=plan.reason,
        world_size=plan.world_size - sum(task.devices for task in plan.tasks if task.task in ending.left_out),
        steps=told.get("steps", max(ending.step, files.last_checkpoint())),
        metrics=told.get("metrics", {}),
        attempts=ending.attempts,
        wall_s=round(ending.wall_s + (ending.resumed or {}).get("wall_s", 0.0), 3),
        time_to_first_step_s=None if ending.first_step_s is None else round(ending.first_step_s, 3),
        steps_per_s=told.get("steps_per_s"),
        cause=None if cause is None else _describe(cause, files, ending.cause_attempt),
        left_out=[str(task) for task in ending.left_out],
        resumed=ending.resumed,
        updates=told.get("updates"),
    )
    return Outcome(result, files, cause, ending.cause_attempt)


def read_back(files: RunFiles, since_ns: int) -> Outcome | None:
    """Return how the run ended as the launcher of its leader wrote it down, None if it did not.

    That launcher knows of its own task alone, so the cause is the earliest fatal error of any task since then
    (nanoseconds since the epoch).
    """
    written = files.read_result()
    if written is None:
        return None
    result = _checked(written, files)
    if result.status == "failed" and (found := first_error(files, since_ns)):
        cause, attempt = found
        described = _describe(cause, files, attempt)
        return Outcome(replace(result, cause=described, exit_code=cause.exit_code), files, cause, attempt)
    if result.cause is None:
        return Outcome(result, files)
    task, file = Task.parse(result.cause["task"]), files.directory / result.cause["file"]
    record = _legible(file) if file.suffix == ".json" else None
    return Outcome(result, files, Cause(task, result.cause["error"], record=record), attempt_of(file))


def read_error(path: Path) -> Mapping[str, Any] | None:
    """Return a task's error.json, None if it has left none; LauncherError if it is damaged."""
    if not path.exists():
        return None
    remedy = "see the task's log instead"
    try:
        error: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as why:
        raise LauncherError(f"{path} cannot be read ({why}); {remedy}") from None
    if not isinstance(error, dict):
        raise LauncherError(f"{path} is damaged: it holds no JSON object; {remedy}")
    if wrong := [key for key, kind in _ERROR.items() if not isinstance(error.get(key), kind)]:
        raise LauncherError(f"{path} is damaged: its {wrong[0]} is missing or wrong; {remedy}")
    try:
        _cause_of(error)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as why:
        raise LauncherError(f"{path} is damaged: {_first_line(why)}; {remedy}") from None
    return error


def _cause_of(error: Mapping[str, Any]) -> Cause:
    return Cause.of(Exited(Task.parse(error["task"]), 1, error))


def first_error(files: RunFiles, since_ns: int) -> tuple[Cause, int] | None:
    """Return the earliest error of any task that a restart would not have recovered from, and its attempt."""
    fatal = [
        (error, attempt)
        for attempt, path in files.errors()
        if (error := _legible(path))
        and (error["time_ns"] >= since_ns and not error["consequence"] and not error.get("mendable"))
    ]
    if not fatal:
        return None
    error, attempt = min(fatal, key=lambda one: one[0]["time_ns"])
    return replace(_cause_of(error), peer=None), attempt  # it is no other task's, whichever it waited for


def _legible(path: Path) -> Mapping[str, Any] | None:
    with suppress(LauncherError):  # which the launcher of its task has said
        return read_error(path)
    return None


def _checked(written: Mapping[str, Any], files: RunFiles) -> RunResult:
    """Return a result with the types that it must have, its cause included; UsageError if it is damaged."""
    try:
        result = TypeAdapter(RunResult).validate_python(written)
        if result.cause:
            Task.parse(result.cause["task"])
            attempt_of(files.directory / result.cause["file"])
    except ValueError as error:  # pydantic's, too
        raise UsageError(f"{files.result} is damaged: {_first_line(error)}; start a new run") from None
    return result


def _first_line(error: Exception) -> str:
    return ", ".join(str(error).splitlines()[:2])


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
