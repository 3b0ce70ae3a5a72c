"""RunResult: how a run ended, as result.json has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from launcher.supervise.events import Cause

Status = Literal["done", "failed", "stopped"]


@dataclass(frozen=True)
class RunResult:
    """How a run ended. Times are in seconds since the launcher began; ``attempts`` counts resumed runs in."""

    status: Status
    mode: str
    strategy: str
    world_size: int
    steps: int
    metrics: Mapping[str, Any]
    attempts: int
    wall_s: float
    time_to_first_step_s: float | None
    steps_per_s: float | None
    cause: Mapping[str, Any] | None  # task, error and file

    def to_dict(self) -> dict[str, Any]:
        """Return the content of result.json."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """A RunResult with what only the screen and the exit code need."""

    result: RunResult
    exit_code: int
    cause: Cause | None = None
