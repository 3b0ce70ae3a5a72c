"""Reports: the messages of a task to the launcher that started it, over a named pipe, a JSON object a line."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launcher.errors import LauncherError

LONGEST = 64 << 20  # bytes of one report
_turn = threading.Lock()  # a pipe mixes what threads write at the same time, above 4,096 bytes


def encode(report: Mapping[str, Any]) -> bytes:
    """Return a report as it is sent; LauncherError if it is longer than the launcher reads."""
    line = (json.dumps(report) + "\n").encode()
    if len(line) > LONGEST:
        raise LauncherError(
            f"the job's figures take {len(line) / (1 << 20):.1f} MiB in the report {report['event']!r}, and "
            f"{LONGEST >> 20} MiB is the most that one may take: return fewer figures, or shorter ones"
        )
    return line


def send(pipe: Path, line: bytes) -> None:
    """Write one encoded report, whole; nothing happens if the launcher is no more. LauncherError if the pipe is not.

    The pipe is opened each time: a descriptor that stays could be closed by the job, or become a file of the job's.
    """
    with _turn:
        try:
            descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nobody reads: this task is about to end with its launcher
                return
            raise LauncherError(f"this task cannot report to its launcher over {pipe}: {error.strerror}") from error
        try:
            os.set_blocking(descriptor, True)
            _write(descriptor, line)
        except BrokenPipeError:  # it has gone meanwhile
            return
        finally:
            os.close(descriptor)


def _write(descriptor: int, line: bytes) -> None:
    left = memoryview(line)
    while left:
        left = left[os.write(descriptor, left) :]
