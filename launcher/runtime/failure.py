"""What a task leaves when it fails: error.json, its log, and an exit code."""

from __future__ import annotations

import contextlib
import linecache
import os
import re
import sys
import textwrap
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from launcher.contract.context import TaskContext
from launcher.contract.task import Task
from launcher.errors import LauncherError, is_library
from launcher.rundir import RunFiles
from launcher.runtime.reporter import Reporter
from launcher.whole_files import write_json

# A traced step runs as AutoGraph's translation; the user's own frames are in the message (autograph/pyct/errors.py).
_TRACED = "in user code:"
_TRACED_FRAME = re.compile(r'^ +File "(.+)", line (\d+), in ', re.MULTILINE)
# An operation that fails while the graph runs: frames, then its message, then remarks.
_RUN = "Graph execution error:"
_RUN_FRAME = re.compile(r'Detected at node |  File "')
_REMARK = re.compile(r"The error could be from a previous operation|\t ?\[\[|The tasks have crashed\.")
# What TensorFlow raises in a task when another one has gone, 3 to 10 s later, or cannot be reached. Full names: a job's
# own errors may have the same bare ones, and who has not loaded TensorFlow need not.
_TENSORFLOWS = "tensorflow.python.framework.errors_impl."
_OF_PEERS = {
    _TENSORFLOWS + name for name in ("UnavailableError", "AbortedError", "CancelledError", "DeadlineExceededError")
}
# The coordination service names the tasks that it has not heard of for 10 s (coordination_service_agent.cc).
_UNHEALTHY = re.compile(r"unhealthy \(stopped sending heartbeats\):((?:\s*/job:\w+/replica:\d+/task:\d+)+)")
_HEARTBEAT = "CoordinationService/Heartbeat"  # to the leader, without an answer
_TASK = re.compile(r"/job:(\w+)/replica:\d+/task:(\d+)")


class PeerGone(LauncherError):
    """Another task was lost; a restart, in which all meet again, may help."""

    def __init__(self, sentence: str, peer: str = "") -> None:
        super().__init__(sentence)
        self.peer = peer


class PeerFailed(LauncherError):
    """Another task failed in a way that a restart does not help, or only once: an error of its job's ``own`` code."""

    def __init__(self, sentence: str, exit_code: int, *, own: bool = False) -> None:
        super().__init__(sentence)
        self.exit_code, self.own = exit_code, own


def is_consequence(error: BaseException) -> bool:
    """Whether another task's end caused the error, as far as the error shows."""
    return isinstance(error, PeerGone | PeerFailed) or _defined_as(type(error)) in _OF_PEERS


def full_name(kind: type) -> str:
    """Return an exception's type as a user can import it: ``ValueError``, ``tensorflow.errors.AbortedError``."""
    name = _defined_as(kind).removeprefix("builtins.")
    return f"tensorflow.errors.{kind.__qualname__}" if name.startswith(_TENSORFLOWS) else name


def _defined_as(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def is_retryable(error: BaseException) -> bool:
    """Whether a restart may help."""
    return is_consequence(error) and not isinstance(error, PeerFailed)


def is_own(error: BaseException) -> bool:
    """Whether it is an exception of the job's own code, in this task or in another."""
    if isinstance(error, LauncherError):
        return isinstance(error, PeerFailed) and error.own
    return not is_consequence(error)


def peer_failure(task: Task, error: Exception) -> PeerFailed:
    """Return a task's own error as the others hear of it."""
    code = error.exit_code if isinstance(error, LauncherError) else 1
    said = str(error) if isinstance(error, LauncherError) else f"{full_name(type(error))}: {_message(error)}"
    return PeerFailed(f"{task} failed: {said}", code, own=is_own(error))


def record(context: TaskContext, error: BaseException) -> int:
    """Write error.json and the traceback into the log; return the exit code.

    If nothing can be written, the launcher is sent what the file would have held.
    """
    trace = "".join(traceback.format_exception(error))
    if silent := _silent(error, context):
        error = PeerGone(f"{' and '.join(silent)} stopped answering", silent[0])
    code = error.exit_code if isinstance(error, LauncherError) else 1
    content = {
        "task": str(context.task),
        "type": full_name(type(error)),
        "message": _message(error),
        "code": [] if isinstance(error, LauncherError) else _user_code(error, Path(context.directory)),
        "traceback": trace,
        "is_sentence": isinstance(error, LauncherError),
        "consequence": is_consequence(error),
        "mendable": is_retryable(error),
        "own": is_own(error),
        "peer": error.peer if isinstance(error, PeerGone) else "",
        "exit_code": code,
        "time_ns": time.time_ns(),
    }
    files = RunFiles(Path(context.run_directory))
    try:
        write_json(files.error(context.attempt, context.task.slug), content)
        # Straight to the log: the launcher shows the first cause once, at the end, and not every task's traceback.
        with files.log(context.attempt, context.task.slug).open(
            "a", encoding="utf-8", errors="backslashreplace"
        ) as log:
            log.write(trace)
    except OSError:
        with contextlib.suppress(LauncherError):  # neither disk nor pipe: the exit code is all that is left to tell
            Reporter(context).tell("failed", error=content)
    return code


def leave(code: int) -> NoReturn:
    """End this process at once, from any thread."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # the job has closed or replaced it
            stream.flush()
    # Not sys.exit: TensorFlow's threads and remote contexts can hang at interpreter exit, and all that matters is done.
    os._exit(code)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:  # noqa: BLE001  # the job's own code, which may raise anything
        return f"(its text cannot be shown: {type(fault).__name__})"


def _silent(error: BaseException, context: TaskContext) -> list[str]:
    """Return the tasks that, by this error, TensorFlow has not heard of for too long."""
    text = _text(error)
    if silent := _UNHEALTHY.search(text):
        return list(dict.fromkeys(_named(job, int(index), context) for job, index in _TASK.findall(silent[1])))
    return [str(context.leader)] if _HEARTBEAT in text and not context.is_leader else []


def _message(error: BaseException) -> str:
    """Return what the error says, without the frames that _user_code shows and without TensorFlow's remarks."""
    text = _text(error)
    if text.startswith(_TRACED):
        said = textwrap.dedent(text.rpartition("\n\n")[2]).strip()
        return said.removeprefix(f"{type(error).__name__}: ")
    if not text.startswith(_RUN):
        return text
    lines = text.splitlines()[1:]
    last = max((number for number, line in enumerate(lines) if _RUN_FRAME.match(line)), default=-1)
    return " ".join(line.strip() for line in lines[last + 1 :] if line.strip() and not _REMARK.match(line))


def _named(job: str, index: int, context: TaskContext) -> str:
    """Return our name of a task that TensorFlow counts without those that were left out."""
    members = [task for task in context.members if task.job == job]
    return str(members[index]) if index < len(members) else f"{job}:{index}"


def _user_code(error: BaseException, directory: Path) -> list[str]:
    """Return "file:line: code" for each frame of the traceback that is neither a library's nor the launcher's."""
    lines = []
    for name, number in dict.fromkeys(_frames(error)):  # a graph's own frames are in the traceback as well
        path = Path(name)
        if path.is_absolute() and not is_library(path) and not path.name.startswith("__autograph_generated_file"):
            shown = path.relative_to(directory) if path.is_relative_to(directory) else path
            lines.append(f"{shown}:{number}: {linecache.getline(name, number).strip()}")
    return lines


def _frames(error: BaseException) -> Iterator[tuple[str, int]]:
    for frame in traceback.extract_tb(error.__traceback__):
        yield frame.filename, frame.lineno or 0
    text = _text(error)
    if text.startswith((_TRACED, _RUN)):
        for name, number in _TRACED_FRAME.findall(text):
            yield name, int(number)
