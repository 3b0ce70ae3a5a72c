"""``python -m launcher.runtime.main``: one task, from its context to its end."""

from __future__ import annotations

import ctypes
import faulthandler
import linecache
import os
import re
import signal
import sys
import sysconfig
import textwrap
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from launcher.cluster.context import TaskContext
from launcher.errors import LauncherError
from launcher.rundir import RunFiles, write_json

_PR_SET_PDEATHSIG = 1
_STOPPED = 128 + signal.SIGTERM
# A traced step runs as AutoGraph's translation; the user's own frames are in the message (autograph/pyct/errors.py).
_TRACED = "in user code:"
_TRACED_FRAME = re.compile(r'^ +File "(.+)", line (\d+), in ', re.MULTILINE)
# What TensorFlow raises in a task when another one has gone: UnavailableError, 3 to 10 s later.
_CONSEQUENCES = {"UnavailableError", "AbortedError", "CancelledError", "LeaderLost"}


def main() -> NoReturn:
    """Run the task that LAUNCHER_TASK describes; the exit code is one of README.md's table."""
    context = TaskContext.from_environment()
    deadline = time.monotonic() + context.start_timeout  # importing TensorFlow is part of the start
    try:
        _prepare(context)
        code = _run(context, deadline)
    except BaseException as error:  # noqa: BLE001  # whatever it is, the launcher must hear of it
        code = _record(context, error)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: TensorFlow's threads and remote contexts can hang at interpreter exit, and all that matters is done.
    os._exit(code)


def _prepare(context: TaskContext) -> None:
    """Make the process what the plan says, before TensorFlow makes threads."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if context.cores:
        os.sched_setaffinity(0, context.cores)
    if context.report_fd >= 0:
        os.set_inheritable(context.report_fd, False)  # the job's own child processes have no say
    faulthandler.enable()
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


def _record(context: TaskContext, error: BaseException) -> int:
    """Write error.json and print what happened; return the exit code."""
    code = error.exit_code if isinstance(error, LauncherError) else 1
    trace = "".join(traceback.format_exception(error))
    record = {
        "task": str(context.task),
        "type": type(error).__name__,
        "message": _message(error),
        "code": [] if isinstance(error, LauncherError) else _user_code(error, Path(context.directory)),
        "traceback": trace,
        "is_sentence": isinstance(error, LauncherError),
        "consequence": type(error).__name__ in _CONSEQUENCES,
        "exit_code": code,
        "time_ns": time.time_ns(),
    }
    files = RunFiles(Path(context.run_directory))
    write_json(files.error(context.attempt, context.task.slug), record)
    # Straight to the log: the launcher shows the first cause once, at the end, and not every task's traceback.
    with files.log(context.attempt, context.task.slug).open("a", encoding="utf-8") as log:
        log.write(trace)
    return code


def _message(error: BaseException) -> str:
    """Return what the error says; that of a traced step without its frames, which _user_code shows."""
    frames, _, said = str(error).rpartition("\n\n")
    if not frames.startswith(_TRACED):
        return str(error)
    return textwrap.dedent(said).strip().removeprefix(f"{type(error).__name__}: ")


def _user_code(error: BaseException, directory: Path) -> list[str]:
    """Return "file:line: code" for each frame of the traceback that is neither a library's nor the launcher's."""
    lines = []
    for name, number in _frames(error):
        path = Path(name)
        if path.is_absolute() and not _is_library(path) and not path.name.startswith("__autograph_generated_file"):
            shown = path.relative_to(directory) if path.is_relative_to(directory) else path
            lines.append(f"{shown}:{number}: {linecache.getline(name, number).strip()}")
    return lines


def _frames(error: BaseException) -> Iterator[tuple[str, int]]:
    for frame in traceback.extract_tb(error.__traceback__):
        yield frame.filename, frame.lineno or 0
    if str(error).startswith(_TRACED):
        for name, number in _TRACED_FRAME.findall(str(error)):
            yield name, int(number)


def _is_library(path: Path) -> bool:
    # Not sys.base_prefix: that is /usr as often as not, and a job may lie in /usr/src/app.
    libraries = {"site-packages", "dist-packages"} & set(path.parts)
    ours, pythons = Path(__file__).parents[1], sysconfig.get_path("stdlib")
    return bool(libraries) or path.is_relative_to(ours) or path.is_relative_to(pythons)


if __name__ == "__main__":
    main()
