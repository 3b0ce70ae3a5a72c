"""The launcher's side of the spawner: start a task, signal it, and hear of its end."""

from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from launcher.contract.task import Task

_ROOT = Path(__file__).parents[3]  # where the packages launcher and jobs are
_LENGTH = struct.Struct("!I")
_END_WAIT = 10.0  # seconds that the spawner gets to end everything below it


def send_request(connection: socket.socket, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one request, with open files for the other process to take over."""
    payload = json.dumps(request).encode()
    socket.send_fds(connection, [_LENGTH.pack(len(payload))], list(descriptors))
    connection.sendall(payload)


def receive_request(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive what ``send_request`` sent; raises EOFError if the other side has gone."""
    header, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, maxfds=2)
    if len(header) < _LENGTH.size:
        raise EOFError
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    payload = bytearray()
    (length,) = _LENGTH.unpack(header)
    while len(payload) < length:
        chunk = connection.recv(length - len(payload))
        if not chunk:
            raise EOFError
        payload += chunk
    request: dict[str, Any] = json.loads(payload)
    return request, list(array.array("i", descriptors))


class Processes:
    """The processes of one run, through their spawner. Use as a context manager: leaving it ends them all."""

    def __init__(self, network: str, locks: Sequence[int] = ()) -> None:
        """``locks`` are open files that stay open until the last process has ended, whatever becomes of this one."""
        self.connection, theirs = socket.socketpair()
        self._pids: dict[Task, int] = {}
        self._received = b""
        self.has_gone = False  # the spawner, as far as ``receive`` has seen
        with theirs:
            kept = [theirs.fileno(), *locks]
            self._spawner = subprocess.Popen(
                [sys.executable, "-P", "-m", "launcher.engines.local.spawner", network, *map(str, kept)],
                env=_environment({}),
                pass_fds=kept,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a terminal's Ctrl-C is for the launcher alone
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        try:
            self._spawner.wait(_END_WAIT)
        except subprocess.TimeoutExpired:
            self._spawner.kill()
            self._spawner.wait()

    def start(self, task: Task, argv: Sequence[str], environment: Mapping[str, str], output: int) -> None:
        """Start one task in a session of its own; ``output`` is the write end of the pipe for what it prints."""
        request = {"start": str(task), "argv": list(argv), "environment": _environment(environment)}
        self._send(request, [output])

    def kill(self, task: Task, number: int) -> None:
        """Send a signal to the task's group."""
        self._send({"kill": str(task), "signal": number})

    def signal_only(self, task: Task, number: int) -> None:
        """Send a signal to the task's main process, not to what that has started."""
        self._send({"kill": str(task), "signal": number, "alone": True})

    def is_stopped(self, task: Task) -> bool:
        """Whether a signal has stopped the task's process, as Ctrl-Z does."""
        import psutil  # the spawner imports this module before every run, and needs none of this

        try:
            return psutil.Process(self._pids[task]).status() == psutil.STATUS_STOPPED
        except (KeyError, psutil.NoSuchProcess):
            return False

    def receive(self) -> Iterator[Mapping[str, Any]]:
        """Yield what the spawner has said; raises EOFError if it has gone."""
        try:
            chunk = self.connection.recv(65536)
        except ConnectionResetError:  # it has left requests unread
            chunk = b""
        if not chunk:
            self._abandon()
            raise EOFError
        *lines, self._received = (self._received + chunk).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "pid" in message:
                self._pids[Task.parse(message["started"])] = message["pid"]
            elif "exited" in message:
                self._pids.pop(Task.parse(message["exited"]), None)  # none if it could not be started
            yield message

    def _send(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        with contextlib.suppress(BrokenPipeError):  # if the spawner has just gone, its end is on the way to us
            send_request(self.connection, request, descriptors)

    def _abandon(self) -> None:
        self.has_gone = True
        # The tasks themselves die with the spawner (PR_SET_PDEATHSIG); their groups are ours to end.
        for pid in self._pids.values():
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._pids.clear()


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, **variables}
