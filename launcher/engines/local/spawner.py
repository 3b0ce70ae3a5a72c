"""``python -m launcher.engines.local.spawner``: the process that owns every task of one launcher.

The launcher talks to it over a socket. When that socket closes, for whatever reason (``kill -9`` of the launcher
included), everything that was ever started below here is killed: tasks, their groups, and grandchildren that left
their group, which the kernel hands to this process because it is a subreaper.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import time
from typing import Any

from launcher.engines.local.network import settle
from launcher.engines.local.process import TASK_REPORT_FD, receive_request

_PR_SET_CHILD_SUBREAPER = 36
_LAST_WAIT = 5.0  # seconds that killed processes get to disappear
_NOTHING = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)  # for the launcher alone to decide


class Spawner:
    """Starts processes, signals their groups, and says how they ended."""

    def __init__(self, launcher: socket.socket) -> None:
        self._launcher = launcher
        self._tasks: dict[int, str] = {}  # pid, which is also the group → name
        self._selector = selectors.DefaultSelector()
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.setblocking(False)
        self._woken = woken
        self._wake = wake
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno())
        self._selector.register(launcher, selectors.EVENT_READ, self._request)
        self._selector.register(woken, selectors.EVENT_READ, self._reap)

    def serve(self) -> None:
        """Serve the launcher until it goes."""
        try:
            while True:
                for key, _ in self._selector.select():
                    key.data()
        except (EOFError, OSError):
            pass  # the launcher has gone, one way or the other
        finally:
            _kill_descendants()

    def _request(self) -> None:
        request, descriptors = receive_request(self._launcher)
        if "start" in request:
            self._try_to_start(request, descriptors)
        else:
            # By name: the launcher may not have heard the number yet.
            for pid in [pid for pid, task in self._tasks.items() if task == request["kill"]]:
                _kill(pid, request["signal"], alone=request.get("alone", False))
        for descriptor in descriptors:
            os.close(descriptor)

    def _try_to_start(self, request: dict[str, Any], descriptors: list[int]) -> None:
        try:
            self._start(request, descriptors)
        except OSError as error:
            why = f"its process could not be started: {error.strerror}"
            self._say(exited=request["start"], code=1, time_ns=time.time_ns(), why=why)

    def _start(self, request: dict[str, Any], descriptors: list[int]) -> None:
        output, report = descriptors
        pid = os.posix_spawn(
            request["argv"][0],
            request["argv"],
            request["environment"],
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
                (os.POSIX_SPAWN_DUP2, report, TASK_REPORT_FD),
            ],
            setsid=True,
            setsigdef=_NOTHING,
        )
        self._tasks[pid] = request["start"]
        self._say(started=request["start"], pid=pid)

    def _reap(self) -> None:
        self._woken.recv(4096)
        while (pid := _ended_child()) is not None:
            task = self._tasks.pop(pid, None)
            if task is not None:
                # Before the leader is reaped, while its number cannot belong to another group.
                _kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if task is not None:
                self._say(exited=task, code=os.waitstatus_to_exitcode(status), time_ns=time.time_ns())

    def _say(self, **message: Any) -> None:
        self._launcher.sendall((json.dumps(message) + "\n").encode())


def _ended_child() -> int | None:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None


def _kill(group: int, number: int, *, alone: bool = False) -> None:
    """Signal a whole group, or only its first process."""
    # If it ended in the meantime, its end is on the way to the launcher.
    with contextlib.suppress(ProcessLookupError):
        os.kill(group, number) if alone else os.killpg(group, number)


def _kill_descendants() -> None:
    import psutil  # only the last act needs it, and a task should not wait for its import

    this, deadline = psutil.Process(), time.monotonic() + _LAST_WAIT
    while (children := this.children(recursive=True)) and time.monotonic() < deadline:
        for child in children:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        # A killed parent hands its children to us: look again until there is nobody.
        psutil.wait_procs(children, timeout=0.5)


def main() -> None:
    """Serve the launcher in the network that the first argument names, on the socket whose number is the second.

    Further numbers are open files that this process keeps until its end, and its tasks never see.
    """
    network, *numbers = sys.argv[1:]
    kept = list(map(int, numbers))
    for number in kept:
        os.set_inheritable(number, False)
    for number in _NOTHING:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    launcher = socket.socket(fileno=kept[0])
    launcher.sendall((json.dumps(settle(network)) + "\n").encode())
    Spawner(launcher).serve()


if __name__ == "__main__":
    main()
