"""What the kernel tells of processes that it killed because memory ran out."""

from __future__ import annotations

import errno
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from launcher.host.control_groups import control_groups
from launcher.host.memory import counted_in, read_memory

_LOG = Path("/dev/kmsg")  # only root may read it on most systems
_RECORD = 8192  # bytes, more than any record of the kernel's log has
_KILLED = re.compile(
    rb"oom-kill:.*,pid=(\d+),|Out of memory.*: Killed process (\d+) |out of memory: Killed process (\d+) "
)
# The processes of the first namespace are numbered as in the log (PROC_PID_INIT_INO in linux/proc_ns.h).
_FIRST_NAMESPACE = "pid:[4026531836]"
_MOMENT = 10.0  # seconds that a large process may take to end once it was killed
MORE_MEMORY = "run fewer tasks on this machine, use smaller batches, or give it more memory"


class OutOfMemory:
    """Listens to the kernel from its making on. Use as a context manager: leaving it closes the kernel's log.

    A process is known to have been killed by the kernel if the log names it. If only the count of such deaths in its
    control group has risen at that moment, another process of the group may be the one that was counted.
    """

    def __init__(self, log: Path = _LOG, counter: Path | None = None) -> None:
        """``counter`` is the file that counts; None finds it."""
        self._log = _open_at_end(log)
        self._counter = counter or _find_counter()
        self._seen = self._count()
        self._rises: list[float] = []  # when each death was counted that is not explained yet
        self._named: set[int] = set()  # processes that the log names

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._log is not None:
            os.close(self._log)

    def look(self, now: float | None = None) -> None:
        """Take in what has happened since the last look; ``now`` is in seconds of ``time.monotonic``."""
        now, count = time.monotonic() if now is None else now, self._count()
        self._rises = [at for at in self._rises if now - at <= _MOMENT] + [now] * (count - self._seen)
        self._seen = count

    def explain(self, pid: int | None, now: float | None = None) -> str:
        """Return how this process, which SIGKILL has ended, died, if memory had to do with it; empty if not."""
        self.look(now)
        self._read_log()
        is_named = pid in self._named
        if not is_named and not self._rises:
            return ""
        self._named.discard(pid or 0)
        del self._rises[:1]
        bound = read_memory().bound
        if is_named:
            return f"killed by the kernel because memory ran out ({bound}); {MORE_MEMORY}"
        return f"killed by SIGKILL when memory had run out ({bound}), so most likely by the kernel; {MORE_MEMORY}"

    def _count(self) -> int:
        with suppress(OSError, ValueError):
            return counted_in(self._counter.read_text(encoding="ascii", errors="replace"), "oom_kill")
        return 0

    def _read_log(self) -> None:
        while self._log is not None:
            try:
                record = os.read(self._log, _RECORD)
            except BlockingIOError:
                return  # this was the last one
            except OSError as error:
                if error.errno != errno.EPIPE:  # otherwise only some of the records were overwritten
                    return
            else:
                if not record:
                    return
                self._named |= {int(number) for found in _KILLED.findall(record) for number in found if number}


def _open_at_end(log: Path) -> int | None:
    with suppress(OSError):
        if str(Path("/proc/self/ns/pid").readlink()) == _FIRST_NAMESPACE:
            opened = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(opened, 0, os.SEEK_END)
            return opened
    return None


def _find_counter() -> Path:
    """Return the file that counts the deaths in this process's own control group, or else on the whole machine."""
    for group in control_groups("memory"):
        counter = group.directory / ("memory.events" if group.version == 2 else "memory.oom_control")
        with suppress(OSError, ValueError):
            counted_in(counter.read_text(encoding="ascii", errors="replace"), "oom_kill")
            return counter
    return Path("/proc/vmstat")
