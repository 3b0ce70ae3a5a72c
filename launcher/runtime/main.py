"""``python -m launcher.runtime.main``: one task, from its context to its end."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
from typing import NoReturn

from setproctitle import setproctitle

from launcher.contract.context import TaskContext
from launcher.contract.phases import Phase
from launcher.runtime.failure import leave, record
from launcher.runtime.process import end_with_parent, enter, import_tensorflow
from launcher.runtime.reporter import Reporter

_STOPPED = 128 + signal.SIGTERM


def main() -> NoReturn:
    """Run the task that LAUNCHER_TASK describes; the exit code is one of the launcher's."""
    context = TaskContext.from_environment()
    try:
        _prepare(context)
        code = _run(context)
    except BaseException as error:  # noqa: BLE001  # the launcher must hear of every error
        code = record(context, error)
    leave(code)


def _prepare(context: TaskContext) -> None:
    """Give the process the cores of the plan, and signals and paths, before TensorFlow makes threads."""
    end_with_parent()
    setproctitle(f"launcher {context.task} of {context.run_directory}")
    if context.cores and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # cores that are gone: check_placement says so in a sentence
            os.sched_setaffinity(0, context.cores)
    faulthandler.enable()
    # If a task hangs, the launcher asks for the stacks of all threads; this answers even inside TensorFlow.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    enter(context.directory)
    sys.path.insert(0, context.directory)
    Reporter(context).tell("phase", phase=Phase.IMPORT)
    import_tensorflow()


def _run(context: TaskContext) -> int:
    from launcher.runtime.task import run_task  # imports TensorFlow, which _prepare has to precede

    return 0 if run_task(context) else _STOPPED


if __name__ == "__main__":
    main()
