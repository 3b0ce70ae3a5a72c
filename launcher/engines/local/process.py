"""The launcher's side of the spawner: start a task, signal it, and hear of its end."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from launcher.contract.requests import send_request
from launcher.contract.task import Task
from launcher.engines.local.network.settled import Network
from launcher.engines.local.warm import HungError, kind_of, process_behind, waiting
from launcher.errors import LauncherError

_ROOT = Path(__file__).parents[3]  # where the packages launcher and jobs are
_END_WAIT = 10.0  # seconds that the spawner gets to end everything below it
_LEAST_WAIT = 0.5  # the same, however little is left of run.grace
_LAST_ACT = 0.5  # seconds of run.grace for what follows
_FIRST_WORD = 30.0  # seconds for the spawner to start, and to make its network
_TAKE = 5.0  # seconds for the spawner to take a request
_QUIET = 5.0  # seconds without a word from the spawner, after which it is asked for one
_ANSWER = 20.0  # seconds for that; it waits for the fork server for 10
_SPAWNER = "the spawner, the process that owns this launcher's tasks,"


class Processes:
    """The processes of one run, through their spawner. Use as a context manager: leaving it ends them all."""

    _spawner: subprocess.Popen[bytes] | None = None  # None: it was there before

    def __init__(
        self,
        network: str,
        locks: Sequence[int] = (),
        keep_warm: float = 0.0,
        say: Callable[[str], None] = print,
    ) -> None:
        """``locks`` are open files that stay open until the last process has ended, whatever becomes of this one.

        ``keep_warm`` is for how many seconds the spawner then waits for another run like this one; ``say`` shows a
        sentence about one that was stopped, or hangs.
        """
        self._say = say
        self._pids: dict[Task, int] = {}
        self._received = b""
        self._network: Network | None = None  # the spawner's first word
        self._keeps_warm = keep_warm > 0
        self.has_gone = False  # the spawner, as far as ``receive`` has seen
        self.fate = f"{_SPAWNER} was killed"  # if it has gone
        self.end_by = math.inf  # when all is to have ended, in seconds of ``time.monotonic``
        kind = kind_of(network) if keep_warm else ""
        self.connection = (self._find_warm(kind, locks) if kind else None) or self._start_spawner(
            network, locks, keep_warm, kind
        )
        self._pid = self._spawner.pid if self._spawner else process_behind(self.connection)
        self.connection.settimeout(_TAKE)
        self._heard_at = self._asked_at = time.monotonic()

    def _find_warm(self, kind: str, locks: Sequence[int]) -> socket.socket | None:
        for warm in waiting(kind):
            try:
                if connection := warm.connect({"keep": len(locks)}, locks):
                    return connection
            except HungError as hung:
                self._say(f"{hung}; it is ended, and another one started")
                hung.end()
        return None

    def _start_spawner(self, network: str, locks: Sequence[int], keep_warm: float, kind: str) -> socket.socket:
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
            send_request(ours, {"keep": len(locks)}, locks)
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
                self._spawner.wait(self._patience)
            except subprocess.TimeoutExpired:
                self._end_spawner()

    @property
    def _patience(self) -> float:
        """For how many seconds to wait for the end of what was asked to end."""
        return min(_END_WAIT, max(_LEAST_WAIT, self.end_by - _LAST_ACT - time.monotonic()))

    def _end_spawner(self) -> None:
        """End a spawner that hangs, and all tasks; one that the kernel does not end is named, and left behind."""
        self._signal_spawner(signal.SIGKILL)
        self._abandon()
        try:
            if self._spawner:
                self._spawner.wait(self._patience)
        except subprocess.TimeoutExpired:
            self._say(
                f"{_SPAWNER} (process {self._pid}) was killed, and the kernel has not ended it; it is left behind"
            )

    def watch(self) -> None:
        """See that the spawner answers: one that a signal has stopped is continued, one that hangs is ended."""
        now = time.monotonic()
        if self._is_stopped:
            self._continue()
        if self.has_gone or now - self._heard_at < _QUIET:
            return
        if self._asked_at <= self._heard_at:
            self._asked_at = now
            self._send({"ping": True})
        elif now - self._asked_at >= _ANSWER:
            self._give_up_spawner(f"has given no answer for {_ANSWER:g} s")

    @property
    def _is_stopped(self) -> bool:
        return not self.has_gone and _is_stopped(self._pid)

    def _continue(self) -> None:
        """Continue the spawner, also one whose stop has not been seen yet."""
        if self._is_stopped:
            self._say(f"{_SPAWNER} was stopped by a signal (SIGSTOP), and is continued")
        self._signal_spawner(signal.SIGCONT)

    def _signal_spawner(self, number: int) -> None:
        if self._spawner:
            self._spawner.send_signal(number)
        elif not self.has_gone:  # or its number may belong to another process by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def first_word(self, wait: Callable[[], bool]) -> Network | None:
        """Return the network that the tasks get, the spawner's first word; LauncherError if there is none.

        ``wait`` receives for a moment what there is; None if it returns False, since nobody needs the word any more.
        """
        until = time.monotonic() + _FIRST_WORD
        while self._network is None and wait():
            self.watch()
            if self.has_gone:
                raise LauncherError(f"{_SPAWNER} ended before any task was started")
            if time.monotonic() >= until:
                raise LauncherError(f"{_SPAWNER} said nothing for {_FIRST_WORD:g} s")
        return self._network

    def _give_up_spawner(self, why: str) -> None:
        """End a spawner without which nothing can be started or ended; ``receive`` hears of it."""
        self.fate = f"{_SPAWNER} {why}, and was killed"
        self._signal_spawner(signal.SIGKILL)
        self.connection.shutdown(socket.SHUT_RDWR)

    def _leave(self) -> None:
        """Let the spawner wait for another run, once nothing of this one is left."""
        self.connection.settimeout(self._patience)
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

    def remove_after(self, *directories: str) -> None:
        """Let these directories go with the last process, if this one is killed before it can remove them."""
        self._send({"scratch": directories})

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
        return task in self._pids and _is_stopped(self._pids[task])

    def receive(self) -> Iterator[Mapping[str, Any]]:
        """Yield what the spawner has said; raises EOFError if it has gone."""
        try:
            chunk = self.connection.recv(65536)
        except ConnectionResetError:  # it has left requests unread
            chunk = b""
        if not chunk:
            self._abandon()
            raise EOFError
        self._heard_at = time.monotonic()
        *lines, self._received = (self._received + chunk).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "started" in message:
                self._pids[Task.parse(message["started"])] = message["pid"]
            elif "exited" in message and not self._took_end(Task.parse(message["exited"]), message.get("pid")):
                continue
            elif "network" in message:
                self._network = Network(**message["network"])
            yield message

    def _took_end(self, task: Task, pid: int | None) -> bool:
        """Take in an end; False if it is that of a process that was forgotten, and may have a successor by now."""
        if pid is None:  # it could not be started
            return True
        if self._pids.get(task) != pid:
            return False
        del self._pids[task]
        return True

    def forget(self, task: Task) -> None:
        """Hear no more of the task's present process, which was killed and does not end."""
        self._pids.pop(task, None)

    def _send(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        try:
            send_request(self.connection, request, descriptors)
        except BrokenPipeError:
            pass  # its end is on the way to us
        except TimeoutError:
            self._give_up_spawner(f"has taken no request for {_TAKE:g} s")

    def _abandon(self) -> None:
        self.has_gone = True
        # The tasks themselves die with the spawner (PR_SET_PDEATHSIG); their groups are ours to end.
        for pid in self._pids.values():
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._pids.clear()


def _is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process."""
    import psutil  # the spawner imports this module before every run, and needs none of this

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, **variables}
