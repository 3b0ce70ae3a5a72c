"""``python -m launcher.runtime.main``: one task, from its context to its end."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import time
from typing import NoReturn

from launcher.contract.context import TaskContext
from launcher.runtime.failure import leave, record

_PR_SET_PDEATHSIG = 1
_STOPPED = 128 + signal.SIGTERM


def main() -> NoReturn:
    """Run the task that LAUNCHER_TASK describes; the exit code is one of README.md's table."""
    context = TaskContext.from_environment()
    deadline = time.monotonic() + context.start_timeout  # importing TensorFlow is part of the start
    try:
        _prepare(context)
        code = _run(context, deadline)
    except BaseException as error:  # noqa: BLE001  # whatever it is, the launcher must hear of it
        code = record(context, error)
    leave(code)


def _prepare(context: TaskContext) -> None:
    """Make the process what the plan says, before TensorFlow makes threads."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if context.cores and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # cores that are gone: the proof of the placement says so in a sentence
            os.sched_setaffinity(0, context.cores)
    if context.report_fd >= 0:
        os.set_inheritable(context.report_fd, False)  # the job's own child processes have no say
    faulthandler.enable()
    # Where nothing moves, the launcher asks for the stacks of all threads; this answers even inside TensorFlow.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    os.chdir(context.directory)
    sys.path.insert(0, context.directory)
    _import_tensorflow()


def _import_tensorflow() -> None:
    # `import tensorflow` eagerly imports Keras' optimizers, a quarter of its time (tensorflow/__init__.py:459-471), and
    # accepts that Keras is not there. A job that wants Keras imports it as always, a moment later.
    sys.modules["keras"] = None  # type: ignore[assignment]
    import tensorflow  # noqa: F401

    del sys.modules["keras"]


def _run(context: TaskContext, deadline: float) -> int:
    from launcher.runtime.roles import play  # TensorFlow, which _prepare had to precede

    return 0 if play(context, deadline) else _STOPPED


if __name__ == "__main__":
    main()
