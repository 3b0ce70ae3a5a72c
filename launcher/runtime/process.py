"""What a task's process and the one that it may be forked from have in common."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Let the kernel kill this process as soon as its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def import_tensorflow() -> None:
    """Import TensorFlow without Keras, which a job that uses it imports later, in the usual way."""
    if "tensorflow" in sys.modules:
        return
    # `import tensorflow` eagerly imports Keras' optimizers, a quarter of its time (tensorflow/__init__.py:459-471), and
    # accepts that Keras is not there.
    sys.modules["keras"] = None  # type: ignore[assignment]
    import tensorflow  # noqa: F401

    del sys.modules["keras"]


def import_keras() -> None:
    """Import the Keras that ``tf.keras`` is, if it would compute with TensorFlow.

    Another one starts threads of its own, or opens GPUs.
    """
    import tensorflow as tf

    if os.environ.get("KERAS_BACKEND") in (None, "", "tensorflow"):
        dir(tf.keras)


def enter(directory: str) -> None:
    """Make this the current directory, and the one that is remembered by packages that were imported in another."""
    os.chdir(directory)
    for name, attribute in (("multiprocessing.process", "ORIGINAL_DIR"), ("rich", "_IMPORT_CWD")):
        if name in sys.modules:
            setattr(sys.modules[name], attribute, directory)
