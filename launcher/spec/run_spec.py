"""RunSpec: what a cluster file says below ``run``."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema, field_validator

from launcher.contract.context import CheckpointPolicy
from launcher.contract.faults import show
from launcher.spec.durations import DURATION, SOME, Duration, parse_duration, positive_duration
from launcher.spec.mounted_path import mounted_path
from launcher.spec.timeouts import Timeouts

_STEPS = re.compile(r"([0-9]{1,18})\s*steps?")
_EVERY_SCHEMA = {"type": "string", "pattern": rf"^{SOME}(?:{DURATION}|{_STEPS.pattern})$"}
Count = Annotated[int, Field(strict=True, ge=1)]


class Model(BaseModel):
    """What every part of a cluster file is: frozen, and without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Checkpoint(Model):
    """When a checkpoint is written, and how many are kept."""

    every: Annotated[
        str,
        WithJsonSchema(_EVERY_SCHEMA),
        Field(description="a duration or a number of steps", examples=["30s", "500 steps"]),
    ] = "30s"
    keep: Annotated[Count, Field(description="how many of the newest are kept", examples=[3])] = 3

    @field_validator("every", mode="before")
    @classmethod
    def _known_interval(cls, value: object) -> object:
        if isinstance(value, str) and (steps := _STEPS.fullmatch(value)):
            if int(steps[1]) < 1:
                raise ValueError("must be at least 1 step")
            return value
        try:
            positive_duration(value)
        except ValueError:
            found = show(value)
            raise ValueError(f"must be a duration like 30s or 5m, or steps like 500 steps, not {found}") from None
        return value

    @property
    def policy(self) -> CheckpointPolicy:
        """The same, as the task's context has it."""
        if steps := _STEPS.fullmatch(self.every):
            return CheckpointPolicy(every_seconds=None, every_steps=int(steps[1]), keep=self.keep)
        return CheckpointPolicy(every_seconds=parse_duration(self.every), every_steps=None, keep=self.keep)


class RunSpec(Model):
    """How the job is run: output, checkpoints, restarts, timeouts, network."""

    on: Annotated[
        str, StringConstraints(min_length=1), Field(description="the engine that starts the tasks", examples=["local"])
    ] = "local"
    output: Annotated[
        str,
        StringConstraints(min_length=1),
        AfterValidator(mounted_path),
        Field(description="where run directories are created: a path of a mounted file system", examples=["runs"]),
    ] = "runs"
    checkpoint: Annotated[
        Checkpoint, Field(description="when checkpoints are written", examples=[{"every": "500 steps", "keep": 3}])
    ] = Checkpoint()
    restarts: Annotated[
        int, Field(strict=True, ge=0, description="restarts allowed before the run fails", examples=[3])
    ] = 3
    start_timeout: Annotated[Duration, Field(description="how long the cluster may take to form", examples=["60s"])] = (
        60.0
    )
    stall_timeout: Annotated[Duration, Field(description="no step for this long is a failure", examples=["5m"])] = 300.0
    grace: Annotated[
        Duration,
        Field(
            description="how long after a SIGTERM or a hang-up everything has ended, with a checkpoint if the time "
            "is enough for one",
            examples=["20s"],
        ),
    ] = 20.0
    start_method: Annotated[
        Literal["auto", "fork", "spawn"],
        Field(
            description="fork tasks from one process that has imported TensorFlow, or start each as a new one; "
            "auto: fork where possible",
            examples=["spawn"],
        ),
    ] = "auto"
    keep_warm: Annotated[
        Duration | None,
        Field(
            description="how long the process that has imported TensorFlow waits for the next run of this user and "
            "environment; not at all, unless given",
            examples=["10m"],
        ),
    ] = None
    nan: Annotated[
        Literal["stop", "ignore"],
        Field(
            description="a figure that is NaN or infinite ends the run as failed, or is ignored",
            examples=["stop"],
        ),
    ] = "stop"
    timeouts: Annotated[
        Timeouts,
        Field(description="how long each other phase of a task may take", examples=[{"evaluate": "1h"}]),
    ] = Timeouts()
    network: Annotated[
        Literal["private", "host"],
        Field(description="a network namespace of the run's own, or the host's network", examples=["private"]),
    ] = "private"
