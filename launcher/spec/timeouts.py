"""Timeouts: what a cluster file says below ``run.timeouts``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from launcher.contract.phases import Phase
from launcher.spec.durations import Duration

# How long a phase may take without any progress in it, in seconds, and what happens in it. A step's is stall_timeout.
_BOUNDS: Mapping[Phase, tuple[float, str]] = {
    Phase.IMPORT: (300.0, "importing TensorFlow and the job's module; run.start_timeout begins after it"),
    Phase.BUILD: (600.0, "the job's build(), and reading a checkpoint"),
    Phase.DATA: (600.0, "the job's dataset() and the first batch; each batch that a resumed run skips begins it anew"),
    Phase.EVALUATE: (1800.0, "one evaluation"),
    Phase.SAVE: (600.0, "writing one checkpoint"),
    Phase.REPORT: (1800.0, "the job's report() at the end"),
}
_FIELDS: dict[str, Any] = {
    phase.value: (Annotated[Duration, Field(description=what, examples=["10m"])], bound)
    for phase, (bound, what) in _BOUNDS.items()
}
# Made by a call since a class statement cannot name a field like the keyword `import`.
Timeouts = create_model(
    "Timeouts",
    __config__=ConfigDict(frozen=True, extra="forbid"),
    __doc__="How long each phase of a task may take before it counts as a hang.",
    **_FIELDS,
)


def by_phase(timeouts: BaseModel) -> Mapping[Phase, float]:
    """Return the seconds of each phase."""
    return {phase: getattr(timeouts, phase.value) for phase in _BOUNDS}
