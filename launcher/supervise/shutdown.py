"""Shutdown: how tasks are brought to their end. They are asked first, and killed if they do not end in time."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterable
from dataclasses import dataclass

from launcher.contract.task import Task
from launcher.supervise.events import Abandon
from launcher.supervise.task_table import TaskTable

STOP_GRACE = 5.0  # seconds between asking a task to end and killing its process group
SAVE_GRACE = 20.0  # the same for tasks that train, which finish their current steps and write a checkpoint
KILL_GRACE = 10.0  # seconds for a killed process to disappear: in uninterruptible sleep it stays
AGAIN = 1.0  # seconds after which a second Ctrl-C is a person's, and not the terminal's or a wrapper's
_AFTER = 3.0  # seconds of run.grace, or half of it, in which nothing is saved any more
_LEAST = 0.5  # seconds that a killed process gets to disappear, however short run.grace is


@dataclass(frozen=True)
class Limits:
    """By when a stop has come how far, in seconds of a monotonic clock."""

    kill_by: float = math.inf  # the tasks
    give_up_by: float = math.inf  # what was killed, and the kernel has not ended
    end_by: float = math.inf  # everything: result.json is written, and the launcher exits

    @classmethod
    def of(cls, grace: float, since: float = 0.0) -> Limits:
        """Return the limits of a stop that a signal has asked for then; ``grace`` is run.grace, in seconds."""
        after = min(_AFTER, grace / 2)
        return cls(since + grace - after, since + grace - after / 2, since + grace)


class StopSignals:
    """The signals that ask a launcher to stop.

    Shells, kernels, Docker and Slurm repeat hang-up and TERM, some within milliseconds, and mean it once: only a second
    Ctrl-C, a second or more after the first, shortens a stop.
    """

    def __init__(self, grace: float) -> None:
        """``grace`` is run.grace, in seconds."""
        self._grace = grace
        self._interrupted_at: float | None = None
        self.limits = Limits()  # since the first that is no Ctrl-C

    def shortens(self, number: int, now: float) -> bool:
        """Take a signal in; return whether it ends at once what the first one has asked to end."""
        if number != signal.SIGINT:
            if self.limits == Limits():
                self.limits = Limits.of(self._grace, now)
            return False
        if self._interrupted_at is None:
            self._interrupted_at = now
        return now - self._interrupted_at >= AGAIN


def time_to_save(number: int, grace: float, longest_call: float) -> float:
    """Return for how many seconds a signal leaves tasks that train the time to write a checkpoint.

    ``grace`` is run.grace, by which everything has ended if a scheduler or a closed terminal has asked; a person who
    waits at the keyboard can press Ctrl-C again. ``longest_call`` is in seconds.
    """
    bounded = Limits.of(grace).kill_by
    if number != signal.SIGINT:
        return bounded
    # The current call began before the signal, and the next one is the last: two of the longest have to fit.
    return max(SAVE_GRACE, bounded, round(2.5 * longest_call) + 5.0)


class Shutdown:
    """The end of one attempt. The time of the kill is fixed as it begins, whatever its cause and whatever answers."""

    def __init__(self, ask_at: float, saving_leader: Task | None = None, save_grace: float = SAVE_GRACE) -> None:
        """Tasks are asked at ``ask_at``; ``saving_leader`` is the leader, if it is to write a checkpoint first."""
        self._saving_leader = saving_leader
        self.keeps_evaluator = False  # the others will restart, and it continues meanwhile
        self._ask_at: float | None = ask_at
        self._kill_at: float | None = ask_at + (min(STOP_GRACE, save_grace) if saving_leader is None else save_grace)
        self._killed_at: float | None = None

    @property
    def has_asked(self) -> bool:
        """Whether the tasks were asked to end."""
        return self._ask_at is None

    def advance(self, table: TaskTable, now: float, limits: Limits, *, will_restart: bool) -> None:
        """Ask, kill or give up the tasks if it is time to; ``will_restart``: another attempt is expected."""
        if self._ask_at is not None and now >= self._ask_at:
            self._ask_at, self.keeps_evaluator = None, will_restart
            table.kill(self._to_ask(table), signal.SIGTERM)
        if self._kill_at is not None and now >= min(self._kill_at, limits.kill_by):
            self.kill(table, now)
        if self._killed_at is not None and now >= max(
            self._killed_at + _LEAST, min(self._killed_at + KILL_GRACE, limits.give_up_by)
        ):
            self._killed_at = now
            table.add(*(Abandon(task) for task in table.living(self._all(table))))

    def kill(self, table: TaskTable, now: float) -> None:
        """Kill the tasks, now."""
        self._ask_at = self._kill_at = None
        self._killed_at = now
        table.kill(self._all(table), signal.SIGKILL)

    def _all(self, table: TaskTable) -> Iterable[Task]:
        return table.gang if self.keeps_evaluator else table.roles

    def _to_ask(self, table: TaskTable) -> list[Task]:
        """Return the tasks to ask: if the leader is to save, not the servers, which it needs for that and then ends."""
        saves = self._saving_leader in table.living(table.gang)
        return [task for task in self._all(table) if not (table.roles[task].serves and saves)]
