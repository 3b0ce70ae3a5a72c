"""The lines of metrics.jsonl, to which every attempt only adds: which of them count, and what is the record's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from launcher.errors import LauncherError

OWN = ("step", "epoch", "time", "wall_time", "attempt", "resumed_at", "task")  # what a job's figures cannot be called

Record = Mapping[str, Any]


def refuse_own_names(figures: Iterable[str]) -> None:
    """Raise LauncherError if a job's figure has the name of something that the record says itself."""
    if taken := [name for name in figures if name in OWN]:
        raise LauncherError(
            f"the job returns a figure called {taken[0]!r}, which every report has of its own (as are "
            f"{', '.join(name for name in OWN if name != taken[0])}): give the figure another name"
        )


def folded(records: Iterable[Record]) -> list[Record]:
    """Return the reports that count: none of a step that a later attempt, which resumed before it, has made again.

    Lines are in the order in which they were written. Only the leader's say at which step their attempt resumed.
    """
    kept: list[Record] = []
    attempt = None
    for record in records:
        resumed = record.get("resumed_at")
        if resumed is not None and record.get("attempt") != attempt:
            attempt = record.get("attempt")
            kept = [one for one in kept if one["step"] <= resumed]
        kept.append(record)
    return kept


def is_report(record: Record) -> bool:
    """Whether this is a report, as far as is needed to read it."""
    kinds = {"step": int, "task": str, "resumed_at": int | None, "time": int | float}
    has_kinds = all(isinstance(record[name], kind) for name, kind in kinds.items() if name in record)
    return has_kinds and {"step", "task", "time"} <= record.keys()


def trained(history: Iterable[Record]) -> tuple[int, float]:
    """Return the steps and the seconds between reports of the same attempt, in a history of one task."""
    pairs = [(a, b) for a, b in pairwise(history) if a.get("attempt") == b.get("attempt")]
    timed = [(a, b) for a, b in pairs if "time" in a and "time" in b]
    return sum(b["step"] - a["step"] for a, b in timed), sum(b["time"] - a["time"] for a, b in timed)
