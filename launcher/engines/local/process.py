"""The launcher's side of the spawner: start a task, signal it, and hear of its end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from launcher.contract.requests import send_request
from launcher.contract.task import Task
from launcher.engines.local.warm import kind_of, process_behind, waiting
from launcher.errors import LauncherError

_ROOT = Path(__file__).parents[3]  # where the packages launcher and jobs are
_END_WAIT = 10.0  # seconds that the spawner gets to end everything below it
_FIRST_WORD = 30.0  # seconds for the spawner to start, and to make its network
_TAKE = 10.0  # seconds for the spawner to take a request
_SPAWNER = "the spawner, the process that owns this launcher's tasks,"


class Processes:
    """The processes of one run, through their spawner. Use as a context manager: leaving it ends them all."""

    _spawner: subprocess.Popen[bytes] | None = None  # None: it was there before

    def __init__(self, network: str, locks: Sequence[int] = (), keep_warm: float = 0.0) -> None:
        """``locks`` are open files that stay open until the last process has ended, whatever becomes of this one.

        ``keep_warm`` is for how many seconds the spawner then waits for another run like this one.
        """
        self._pids: dict[Task, int] = {}
        self._received = b""
        self.has_gone = False  # the spawner, as far as ``receive`` has seen
        self._keeps_warm, kind = keep_warm > 0, kind_of(network) if keep_warm else ""
        self.connection = next((found for warm in waiting(kind) if kind and (found := warm.connect())), None) or (
            self._start_spawner(network, keep_warm, kind)
        )
        self._pid = self._spawner.pid if self._spawner else process_behind(self.connection)
        self.connection.settimeout(_TAKE)
        if locks:
            self._send({"keep": len(locks)}, locks)

    def _start_spawner(self, network: str, keep_warm: float, kind: str) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            number = str(theirs.fileno())
            self._spawner = subprocess.Popen(
                [sys.executable, "-P", "-m", "launcher.engines.local.spawner", number, network, str(keep_warm), kind],
                env=_environment({}),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a terminal's Ctrl-C is for the launcher alone
            )
        return ours

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._keeps_warm and not self.has_gone:
            self._leave()
            return
        self.connection.close()
        self._continue()
        if self._spawner:
            try:
                self._spawner.wait(_END_WAIT)
            except subprocess.TimeoutExpired:
                self._end_spawner()

    def _end_spawner(self) -> None:
        """End a spawner that hangs, and all tasks; LauncherError if the kernel does not end it."""
        self._signal_spawner(signal.SIGKILL)
        self._abandon()
        try:
            if self._spawner:
                self._spawner.wait(_END_WAIT)
        except subprocess.TimeoutExpired:
            raise LauncherError(
                f"{_SPAWNER} (process {self._pid}) was killed, and the kernel does not end it"
            ) from None

    def _continue(self) -> None:
        """Continue a spawner that a signal has stopped: only through it are tasks asked to end."""
        self._signal_spawner(signal.SIGCONT)

    def _signal_spawner(self, number: int) -> None:
        if self._spawner:
            self._spawner.send_signal(number)
        elif not self.has_gone:  # or its number may belong to another process by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def first_word(self) -> Mapping[str, Any]:
        """Return the spawner's first word: its network, and why; LauncherError if there is none."""
        self.connection.settimeout(_FIRST_WORD)
        try:
            (word,) = self.receive()
        except EOFError:
            raise LauncherError(f"{_SPAWNER} ended before any task was started") from None
        except TimeoutError:
            raise LauncherError(f"{_SPAWNER} said nothing for {_FIRST_WORD:g} s; was it stopped?") from None
        self.connection.settimeout(_TAKE)
        return word

    def _leave(self) -> None:
        """Let the spawner wait for another run, once nothing of this one is left."""
        self.connection.settimeout(_END_WAIT)
        self._continue()
        self._send({"leave": True})
        try:
            while not any("left" in message for message in self.receive()):
                pass
        except EOFError:
            pass  # it has gone, and every task with it
        except TimeoutError:
            self._end_spawner()
        self.connection.close()

    def start(
        self,
        task: Task,
        argv: Sequence[str],
        environment: Mapping[str, str],
        output: int,
        *,
        fork: bool = False,
        keras: bool = False,
    ) -> None:
        """Start one task in a session of its own; ``output`` is the write end of the pipe for what it prints.

        ``fork``: from the fork server, if that is possible, whose tasks all do what the command of a task does.
        ``keras``: it shall have imported Keras as well.
        """
        how = {"fork": fork, "keras": keras}
        request = {"start": str(task), "argv": list(argv), "environment": _environment(environment), **how}
        self._send(request, [output])

    def kill(self, task: Task, number: int) -> None:
        """Send a signal to the task's group."""
        self._continue()
        self._send({"kill": str(task), "signal": number})

    def signal_only(self, task: Task, number: int) -> None:
        """Send a signal to the task's main process, not to what that has started."""
        self._send({"kill": str(task), "signal": number, "alone": True})

    def named(self, task: Task) -> str:
        """Return `` 123``, the task's process; empty if there is none."""
        return f" {self._pids[task]}" if task in self._pids else ""

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
                message["pid"] = self._pids.pop(Task.parse(message["exited"]), None)  # if it could be started
            yield message

    def _send(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        try:
            send_request(self.connection, request, descriptors)
        except BrokenPipeError:
            pass  # its end is on the way to us
        except TimeoutError:  # it was stopped by a signal, or hangs: without it nothing can be started or ended
            self._signal_spawner(signal.SIGKILL)
            self.connection.shutdown(socket.SHUT_RDWR)  # so that the end is read from here

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
