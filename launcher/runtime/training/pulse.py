"""Pulse: what a task tells of its phases, and of the batches that it draws inside a call of many steps."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import tensorflow as tf

from launcher.contract.phases import Phase
from launcher.errors import LauncherError
from launcher.runtime.reporter import Reporter

_EVERY = 1.0  # seconds


class Pulse:
    """Tells each phase as it begins, and how far the call has come while TensorFlow runs it.

    The count is a variable of this task alone, on its CPU, that the graph moves on and a thread reads: no replica waits
    for another, and Python has no part in a step.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._lock = threading.Lock()  # what is told of a phase comes before what is told of the next
        self._phase: Phase | None = None
        self._over = threading.Event()
        self._drawn: Any = None
        self._seen = self._to_skip = self._steps = 0

    def enter(self, phase: Phase) -> None:
        """Tell that a phase begins, unless this task is in it."""
        with self._lock:
            self._enter(phase)

    def _enter(self, phase: Phase) -> None:
        if phase is not self._phase:
            self._phase = phase
            self._reporter.tell("phase", phase=phase)

    def rest(self) -> None:
        """Tell that this task waits for something to do, as an evaluator does for the next checkpoint."""
        with self._lock:
            if self._phase:
                self._phase = None
                self._reporter.tell("idle")

    def watch(self, to_skip: int, steps: int) -> None:
        """Tell every second how many batches were drawn, of which ``to_skip`` are skipped; ``steps`` is the last."""
        self._to_skip, self._steps = to_skip, steps
        with tf.device("CPU:0"):
            self._drawn = tf.Variable(0, dtype=tf.int64, trainable=False)
        threading.Thread(target=self._watch, name="pulse", daemon=True).start()

    def end(self) -> None:
        """Tell nothing more of batches: no step follows."""
        self._over.set()
        with self._lock:
            self._phase = None

    def draw(self, iterator: Any) -> Any:
        """Return the next batch, and count it once it is there; runs in a traced call, outside of the replicas."""
        batch = next(iterator)
        with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
            self._drawn.assign_add(1, read_value=False)
        return batch

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            with contextlib.suppress(LauncherError):  # what this task reports next says so, if it lasts
                self.tell_drawn()

    def tell_drawn(self) -> None:
        """Tell how many batches were drawn if there are more than before."""
        with self._lock:
            drawn = int(self._drawn.numpy())
            if drawn == self._seen or self._phase not in (Phase.DATA, Phase.TRAIN):
                return
            self._seen = drawn
            if drawn > self._to_skip:
                self._enter(Phase.TRAIN)  # the first batch has come
            of = self._steps if self._phase is Phase.TRAIN else self._to_skip
            self._reporter.tell("moving", phase=self._phase, done=drawn, of=of)
