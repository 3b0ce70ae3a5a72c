"""Phases: what a task that runs training code is doing, as it tells its launcher."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """One phase of a task; ``run.stall_timeout`` bounds a step of TRAIN, and ``run.timeouts`` each of the others."""

    IMPORT = "import"  # TensorFlow, and the module of the training code
    BUILD = "build"  # variables, and reading a checkpoint
    DATA = "data"  # until the first batch, with what a resumed run skips
    TRAIN = "train"
    EVALUATE = "evaluate"
    SAVE = "save"
    REPORT = "report"
