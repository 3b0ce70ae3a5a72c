"""Warm spawners: those that have imported TensorFlow, and wait for the next run of the same user and environment.

Each listens, while it waits, on a socket that only its user can reach, whose name says its process and what it is good
for. A run of the same kind connects instead of starting a spawner.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.contract.requests import send_request
from launcher.engines.local.start_method import at_import

_ANSWER = 5.0  # seconds for a warm spawner to take a connection
_PACKAGES = ("site-packages", "dist-packages")
_SHARED, _LONGEST = Path("/tmp"), 40  # noqa: S108  # where nobody else can reach into a directory of one's own
_SELF = Path("/proc/self")
# Where Keras has its backend and its type of floats from (keras/src/backend/config.py).
_KERAS = ("$KERAS_HOME/keras.json", "~/.keras/keras.json", "/tmp/.keras/keras.json")  # noqa: S108
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user")


class HungError(Exception):
    """A warm spawner takes no request; the message names it."""

    def __init__(self, pid: int) -> None:
        super().__init__(
            f"the spawner that waits for the next run (process {pid}) has given no answer for {_ANSWER:g} s"
        )
        self._pid = pid

    def end(self) -> None:
        """End it, and what it has started, which ends with it."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)


@dataclass(frozen=True)
class Warm:
    """A spawner that waits for a run."""

    path: Path

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self.path.name.partition("-")[0])

    def connect(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> socket.socket | None:
        """Return a connection to it, once it begins to answer this request.

        None, and no trace of it, if it has gone; HungError, and no trace either, if it does not answer.
        """
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_ANSWER)
        try:
            connection.connect(str(self.path))
            send_request(connection, request, descriptors)
            return self._answering(connection)
        except OSError:
            connection.close()
            self.path.unlink(missing_ok=True)
            return None

    def _answering(self, connection: socket.socket) -> socket.socket:
        try:
            if not connection.recv(1, socket.MSG_PEEK):  # its time may be over just now
                raise ConnectionResetError
        except TimeoutError:
            with connection:
                self.path.unlink(missing_ok=True)
                raise HungError(process_behind(connection)) from None
        return connection


def place() -> Path:
    """Return the directory of this user's sockets, made if it is not there; OSError if another user has made it."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # The path of a socket has at most 107 bytes (unix(7)).
    beside = Path(runtime) if Path(runtime).is_dir() and 0 < len(runtime) <= _LONGEST else _SHARED
    directory = beside / f"launcher-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{directory} is not this user's alone")
    return directory


def waiting(kind: str = "*") -> Iterator[Warm]:
    """Yield this user's warm spawners, or only those of one kind."""
    with suppress(OSError):
        yield from map(Warm, sorted(place().glob(f"*-{kind}.sock")))


def kind_of(network: str) -> str:
    """Return what a spawner of this process is good for: what a task would inherit from it, and cannot change."""
    umask = os.umask(0o077)
    os.umask(umask)
    inherited = [
        network,
        [sys.executable, sys.version, sys.prefix],
        sorted(at_import(os.environ)),
        [_keras_settings(path) for path in _KERAS],
        _changed(Path(__file__).parents[2]),
        [Path(path).stat().st_mtime_ns for path in sys.path if Path(path).name in _PACKAGES],
        [str(Path.cwd())] if any(not Path(entry).is_absolute() for entry in _python_path()) else [],
        [umask, os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0))],
        [str((_SELF / "ns" / name).readlink()) for name in _NAMESPACES],
        [(_SELF / name).read_text(encoding="utf-8") for name in ("limits", "cgroup")],
    ]
    return hashlib.sha256(json.dumps(inherited).encode()).hexdigest()[:32]


def _python_path() -> list[str]:
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


def _keras_settings(path: str) -> str:
    """Return what Keras would read at its import, empty if nothing."""
    try:
        return Path(os.path.expandvars(path)).expanduser().read_text(encoding="utf-8", errors="replace")
    except (OSError, RuntimeError):  # there is no such file, or no home
        return ""


def _changed(package: Path) -> int:
    """Return when the launcher's own code was changed last, in nanoseconds."""
    return max(path.stat().st_mtime_ns for path in package.rglob("*.py"))


def is_own(connection: socket.socket) -> bool:
    """Whether the other side of a Unix socket is a process of this user."""
    return _credentials(connection)[1] == os.getuid()


def process_behind(connection: socket.socket) -> int:
    """Return the process that listened on the other side of a Unix socket."""
    return _credentials(connection)[0]


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, user, group = struct.unpack("3i", found)
    return pid, user, group


def accept(kind: str, seconds: float) -> socket.socket | None:
    """Wait for the next run of that kind, at most this long; None if there was none."""
    path = place() / f"{os.getpid()}-{kind}.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.settimeout(seconds)
        listener.listen(1)
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return None
        finally:
            path.unlink(missing_ok=True)
    if is_own(connection):
        return connection
    connection.close()
    return None
