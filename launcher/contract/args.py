"""The job that a cluster file names and its ``args``, read in the same way by the launcher and by every task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, ValidationError, create_model

from launcher.contract.faults import dotted, faults
from launcher.errors import Problem, SpecError

Config = TypeVar("Config")


def job_module(job: str) -> str:
    """Return the name of the module of a job; a script's path is returned as it is written."""
    return job if job.endswith(".py") or "." in job else f"jobs.{job}"


def read_args(config: type[Config], args: Mapping[str, Any]) -> Config:
    """Read ``args`` into a job's Config, a frozen dataclass, without conversions; SpecError names every wrong key."""
    # The dataclass is wrapped in a model, whose rules then apply to nested dataclasses, too, and whose field gives
    # every location the prefix "args".
    model = create_model("Args", __config__=ConfigDict(extra="forbid", strict=True), args=(config, ...))
    data = {"args": dict(args)}
    try:
        read: Config = model.model_validate_json(json.dumps(data)).args  # type: ignore[attr-defined]
    except ValidationError as error:
        raise SpecError(
            Problem("", dotted(fault.path), fault.message) for fault in faults(error, data, model)
        ) from None
    return read
