"""``python -m launcher.runtime.forkserver``: imports what tasks need once, and forks each task of a run from there.

Its first word is whether tasks can be forked. Nothing of the user's is imported here, and no TensorFlow operation runs:
TensorFlow's runtime does not survive a fork (tensorflow#2448), what its import makes does. Its standard streams are
/dev/null until a task has taken its own, so that Python makes them as for a task.
"""

from __future__ import annotations

import fcntl
import gc
import json
import logging
import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import getproctitle

from launcher.contract.requests import receive_request
from launcher.runtime import main as task
from launcher.runtime.process import end_with_parent, import_keras, import_tensorflow

_OF_THE_LAUNCHER = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)  # ignored here, as in the spawner

_FAR = 64


def main() -> None:
    """Serve the spawner on the socket whose number is the first argument, until it goes.

    A second argument, ``keras``, means that the tasks' job uses Keras.
    """
    # Far from the numbers that a task's own files get.
    spawner = socket.socket(fileno=fcntl.fcntl(int(sys.argv[1]), fcntl.F_DUPFD_CLOEXEC, _FAR))
    os.close(int(sys.argv[1]))
    end_with_parent()
    getproctitle()  # so that it knows where the title is: a task has another environment by then
    before = dict(os.environ)
    why_not = prepare(keras="keras" in sys.argv[2:])
    imported = {name: value for name, value in os.environ.items() if name not in before}
    _say(spawner, why_not=why_not)
    if why_not:
        return
    gc.collect()
    gc.freeze()  # so that no child's collector writes to what all of them share
    try:
        while True:
            request, descriptors = receive_request(spawner)
            environment = imported | request["environment"]
            _fork(spawner, request | {"environment": environment}, descriptors)
    except (EOFError, OSError):
        return  # the spawner has gone


def prepare(*, keras: bool = False) -> str:
    """Import what every task needs; return why tasks cannot be forked from this process then, empty if they can be."""
    try:
        return _import_once(keras=keras)
    except Exception as error:  # noqa: BLE001  # each task, which imports the same, tells it with a traceback
        return f"importing TensorFlow has failed ({type(error).__name__}: {error})"


def _import_once(*, keras: bool) -> str:
    import numpy.random  # noqa: F401
    import pydantic.fields  # noqa: F401  # which reads the args of a job

    # numpy's OpenBLAS has threads of its own, which it ends before a fork and starts again when needed (blas_server.c).
    before = _threads()
    import_tensorflow()
    if keras:
        import_keras()
    if more := _threads() - before:
        return f"importing TensorFlow has started threads of its own ({more})"
    from tensorflow.python.eager import context

    import launcher.runtime.task  # noqa: F401

    eager = context.context_safe()
    if eager is not None and eager._initialized:  # noqa: SLF001  # there is no public way to ask without initialising it
        return "importing TensorFlow has initialised its runtime"
    if opened := _gpu_files():
        return f"importing TensorFlow has opened a GPU ({opened})"
    return ""


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def _gpu_files() -> str:
    files = (os.path.realpath(path) for path in Path("/proc/self/fd").iterdir())
    return ", ".join(sorted({path for path in files if path.startswith("/dev/nvidia")}))


def _fork(spawner: socket.socket, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Fork one task, as a child of the spawner, and say its number."""
    try:
        middle = os.fork()
    except OSError as error:
        _say(spawner, why_not=f"its process could not be started: {error.strerror}")
    else:
        if middle == 0:
            _fork_again(spawner, request, descriptors)
        if os.waitstatus_to_exitcode(os.waitpid(middle, 0)[1]):
            _say(spawner, why_not="its process could not be started")
    for descriptor in descriptors:
        os.close(descriptor)


def _fork_again(spawner: socket.socket, request: Mapping[str, Any], descriptors: Sequence[int]) -> NoReturn:
    """Fork the task and end, so that the kernel hands it to the spawner, which is the subreaper of all of a run."""
    middle, code = os.getpid(), 1
    try:
        if os.fork():
            os._exit(0)
        while os.getppid() == middle:  # until it is handed over: the parent's death would be this one's (PDEATHSIG)
            time.sleep(0.0005)
        _become(request, descriptors)
        _say(spawner, pid=os.getpid())
        spawner.close()
        task.main()
    except BaseException:  # noqa: BLE001  # there is nobody above who could hear of it
        traceback.print_exc()
    finally:
        os._exit(code)


def _become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Make this process what a new one would be: session, signals, environment, open files, random state."""
    os.setsid()
    for number in _OF_THE_LAUNCHER:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(request["environment"])
    for descriptor, numbers in zip(descriptors, request["into"], strict=True):
        for number in numbers:
            os.dup2(descriptor, number)
        if descriptor not in numbers:
            os.close(descriptor)
    # As if it had been started as ``python -m launcher.runtime.main``.
    sys.modules["__main__"] = sys.modules["__mp_main__"] = task
    sys.argv[:] = [str(task.__file__)]
    _renew()


def _renew() -> None:
    """Renew what modules took at their import from the process, the time and the source of random numbers."""
    import numpy as np

    random.seed()
    np.random.seed()  # noqa: NPY002  # forked workers would draw the same numbers
    multiprocessing.current_process().authkey = os.urandom(32)
    tempfile.tempdir = None  # which an import may have asked for; a task's own ends with its run
    logging._startTime = time.time_ns() if isinstance(logging._startTime, int) else time.time()  # type: ignore[attr-defined]  # noqa: SLF001
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined]  # noqa: SLF001


def _say(spawner: socket.socket, **message: Any) -> None:
    spawner.sendall((json.dumps(message) + "\n").encode())


if __name__ == "__main__":
    main()
