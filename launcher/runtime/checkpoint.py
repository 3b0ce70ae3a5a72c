"""Checkpoints: written by one task, complete or absent, the newest few kept."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import tensorflow as tf

from launcher.cluster.context import CheckpointPolicy, TaskContext
from launcher.rundir import RunFiles, write_json

_VARIABLES = "variables"
_STATE = "state.json"


class Checkpoints:
    """The checkpoints of one run, as one of its tasks sees them.

    Every training task calls ``save`` at the same step, because saving a variable that is summed on read is itself a
    collective; only the leader's files are kept (tensorflow.org, multi_worker_with_keras, "Model saving").
    """

    def __init__(self, context: TaskContext, job: tf.Module) -> None:
        self._directory = RunFiles(Path(context.run_directory)).checkpoints
        self._policy: CheckpointPolicy = context.checkpoint
        self._writes = context.is_leader
        # Under ParameterServerStrategy each ps would write its own variables, on its own machine.
        device = "/job:chief" if context.role == "coordinate" else None
        self._options = tf.train.CheckpointOptions(experimental_io_device=device)
        self._checkpoint = tf.train.Checkpoint(job=job)
        self._saved_at = time.monotonic()
        self._saved_step = 0

    def due(self, step: int) -> bool:
        """Whether the policy asks for a checkpoint at this step."""
        if self._policy.every_steps is not None:
            return step // self._policy.every_steps > self._saved_step // self._policy.every_steps
        return time.monotonic() - self._saved_at >= (self._policy.every_seconds or 0.0)

    def next_step(self, step: int) -> int | None:
        """Return the next step after ``step`` at which the policy asks for a checkpoint, where it counts steps."""
        every = self._policy.every_steps
        return None if every is None else (step // every + 1) * every

    def save(self, step: int) -> None:
        """Write the checkpoint of this step, unless it is there, beside its place; rename it; drop the oldest."""
        if step == self._saved_step:
            return
        self._directory.mkdir(exist_ok=True)
        place = self._directory if self._writes else None
        beside = Path(tempfile.mkdtemp(dir=place, prefix=f".step-{step}."))
        self._checkpoint.write(str(beside / _VARIABLES), self._options)
        if self._writes:
            write_json(beside / _STATE, {"step": step})
            os.chmod(beside, 0o755)
            os.rename(beside, self._directory / f"step-{step:010d}")
            for old in self.steps()[: -self._policy.keep]:
                shutil.rmtree(self._directory / f"step-{old:010d}")
        else:
            shutil.rmtree(beside)
        self._saved_at, self._saved_step = time.monotonic(), step

    def steps(self) -> list[int]:
        """Return the steps of the complete checkpoints, oldest first."""
        found = self._directory.glob(f"step-*/{_STATE}")
        return sorted(int(json.loads(path.read_text(encoding="utf-8"))["step"]) for path in found)

    def restore(self) -> int:
        """Read the newest checkpoint into the job and return its step; 0 where there is none."""
        for unfinished in self._directory.glob(".step-*") if self._writes else ():
            shutil.rmtree(unfinished)
        steps = self.steps()
        if not steps:
            return 0
        step = steps[-1]
        prefix = self._directory / f"step-{step:010d}" / _VARIABLES
        self._checkpoint.read(str(prefix), self._options).assert_existing_objects_matched()
        self._saved_step = step
        return step
