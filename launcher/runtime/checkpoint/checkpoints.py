"""Checkpoints: written by one task, the newest few kept, and read by all that train."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import tensorflow as tf

from launcher.contract.context import CheckpointPolicy, TaskContext
from launcher.contract.roles import Role
from launcher.errors import LauncherError, UsageError
from launcher.rundir import RunFiles
from launcher.runtime.checkpoint.content import damage
from launcher.runtime.checkpoint.files import CheckpointFiles
from launcher.runtime.checkpoint.saved import Saved
from launcher.runtime.failure import is_consequence
from launcher.runtime.training.finite import refuse_weights

_VARIABLES = "variables"
_say = partial(print, flush=True)


class Checkpoints:
    """The checkpoints of one run, as one of its tasks sees them.

    Every training task calls ``save`` at the same step, because saving a variable that is summed on read is itself a
    collective; only the leader's files are kept (tensorflow.org, multi_worker_with_keras, "Model saving").
    """

    def __init__(self, context: TaskContext, job: tf.Module) -> None:
        self.files = CheckpointFiles(RunFiles(Path(context.run_directory)).checkpoints)
        self._policy: CheckpointPolicy = context.checkpoint
        self._writes = context.is_leader
        # Under ParameterServerStrategy each ps would write its own variables, on its own machine.
        device = "/job:chief" if context.role is Role.COORDINATE else None
        self._options = tf.train.CheckpointOptions(experimental_io_device=device)
        self._job, self._refuses_nan = job, context.nan == "stop"
        self._checkpoint = tf.train.Checkpoint(job=job)
        self._saved_at = time.monotonic()
        self._saved_step = 0

    def due(self, step: int) -> bool:
        """Whether the policy asks for a checkpoint at this step."""
        if self._policy.every_steps is not None:
            return step // self._policy.every_steps > self._saved_step // self._policy.every_steps
        return time.monotonic() - self._saved_at >= (self._policy.every_seconds or 0.0)

    def next_step(self, step: int) -> int | None:
        """Return the next step after ``step`` at which the policy asks for a checkpoint, if it counts steps."""
        every = self._policy.every_steps
        return None if every is None else (step // every + 1) * every

    def save(self, step: int, repeated: int = 0) -> None:
        """Write the checkpoint of this step, unless it is there, and remove the oldest.

        ``repeated`` is how many of the updates until then may have been applied twice. LauncherError if the files
        cannot be written, or if weights are NaN or infinite: such a checkpoint would push out a good one.
        """
        if step == self._saved_step:
            return
        if self._refuses_nan:
            refuse_weights(self._job, step)
        try:
            if self._writes:
                self._save_whole(step, repeated)
            else:
                self._write_share(step)
        except (OSError, tf.errors.OpError) as error:
            if is_consequence(error):
                raise
            raise LauncherError(self._cannot_write(step, error)) from error
        self._saved_at, self._saved_step = time.monotonic(), step

    def _save_whole(self, step: int, repeated: int) -> None:
        """Write the files that are kept; if that fails, the older ones stay."""
        with self.files.writing(step, repeated=repeated) as draft:
            self._write(draft)
        self.files.keep(self._policy.keep)

    def _write_share(self, step: int) -> None:
        """Write what is not kept."""
        with TemporaryDirectory(prefix=f"step-{step}.") as draft:
            self._write(Path(draft))

    def _cannot_write(self, step: int, error: OSError | tf.errors.OpError) -> str:
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        if not self._writes:
            return f"this task's share of the checkpoint of step {step} cannot be written to {gettempdir()}: {why}"
        last = self.files.newest()
        there = f"the last one is of step {last.step}" if last else "there is no other"
        return f"the checkpoint of step {step} cannot be written: {why}; {there}"

    def _write(self, directory: Path) -> None:
        self._checkpoint.write(str(directory / _VARIABLES), self._options)

    def restore(self, step: int) -> int:
        """Read the checkpoint of that step into the job; 0 is the job as it was built.

        Returns how many of the updates until then may have been applied twice. UsageError if it does not fit the
        job.
        """
        if self._writes:
            self.files.remove_unfinished()
        self._saved_at, self._saved_step = time.monotonic(), step
        if not step:
            return 0
        saved = self.files.at(step)
        self._read(saved)
        return saved.repeated

    def newest(self, other_than: int) -> Saved | None:
        """Return the newest checkpoint, unless it is that of the step ``other_than``."""
        newest = self.files.newest()
        return None if newest is None or newest.step == other_than else newest

    def read_sound(self, saved: Saved) -> bool:
        """Read a checkpoint into the job, for a task that only evaluates, and return whether its files are sound.

        If not, the leader, which names what is damaged, may have just removed it.
        """
        if damage(saved.directory, _say):
            return False
        try:
            self._read(saved)
        except tf.errors.OpError:
            if damage(saved.directory):
                return False
            raise
        return True

    def _read(self, saved: Saved) -> None:
        prefix = str(saved.directory / _VARIABLES)
        try:
            self._checkpoint.read(prefix, self._options).assert_existing_objects_matched()
        except (ValueError, AssertionError) as error:  # other shapes; other variables
            why = str(error).partition("\n")[0]
            raise UsageError(
                f"the checkpoint of step {saved.step} does not fit the job: {why}; resume with the args and the code "
                "that it was written with, or start a new run"
            ) from error
