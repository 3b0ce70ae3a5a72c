"""The job that a cluster file names and its ``args``, as the launcher and every task understand them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, ValidationError, create_model

from launcher.contract.faults import dotted, faults
from launcher.errors import Problem, SpecError

Config = TypeVar("Config")


def job_module(job: str) -> str:
    """Return the module of a job, or the path of its script as it is written."""
    return job if job.endswith(".py") or "." in job else f"jobs.{job}"


def read_args(config: type[Config], args: Mapping[str, Any]) -> Config:
    """Read ``args`` into a job's Config, a frozen dataclass, strictly; SpecError names every wrong key."""
    # Dataclasses below a model follow its rules, nested ones too; and the locations begin with "args" of themselves.
    model = create_model("Args", __config__=ConfigDict(extra="forbid", strict=True), args=(config, ...))
    data = {"args": dict(args)}
    try:
        read: Config = model.model_validate_json(json.dumps(data)).args  # type: ignore[attr-defined]
    except ValidationError as error:
        raise SpecError(
            Problem("", dotted(fault.path), fault.message) for fault in faults(error, data, model)
        ) from None
    return read
