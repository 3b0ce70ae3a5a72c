"""Durations of a cluster file: 30s, 5m, 500ms, 2h."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from launcher.contract.faults import show

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_YEAR = 365 * 24 * 3600.0
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)")
# As JSON Schema has it, for editors: what is nothing (0s) is refused as well.
SOME = r"(?!0+(?:\.0+)?\s*[a-z])"
DURATION = _DURATION.pattern
_SCHEMA = {"type": "string", "pattern": rf"^{SOME}{DURATION}$"}


def parse_duration(value: object) -> float:
    """Return the seconds of ``30s``, ``5m``, ``500ms`` or ``2h``; raises ValueError for anything else."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        unit = f"; write {value}s" if type(value) in (int, float) else ""
        raise ValueError(f"must be a number with a unit (ms, s, m, h), like 30s or 5m, not {show(value)}{unit}")
    return float(found[1]) * _UNITS[found[2]]


def positive_duration(value: object) -> float:
    """Return the seconds of a duration longer than nothing, and at most a year; raises ValueError for others."""
    if isinstance(value, float) and value > 0:
        return value  # already parsed: a ClusterSpec that was dumped and is read again
    seconds = parse_duration(value)
    if seconds <= 0:
        raise ValueError("must be longer than 0s")
    if seconds > _YEAR:
        raise ValueError("must be at most a year, 8760h")  # what waits and selects cannot wait for ever
    return seconds


Duration = Annotated[
    float,
    BeforeValidator(positive_duration),
    WithJsonSchema(_SCHEMA),
]
