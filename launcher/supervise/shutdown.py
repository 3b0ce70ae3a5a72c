"""Shutdown: how tasks are brought to their end. They are asked first, and killed if they do not end in time."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from launcher.contract.task import Task
from launcher.supervise.task_table import TaskTable

STOP_GRACE = 5.0  # seconds between asking a task to end and killing its process group
SAVE_GRACE = 20.0  # the same for tasks that train, which finish their current steps and write a checkpoint


class Shutdown:
    """The end of one attempt. The time of the kill is fixed as it begins, whatever its cause and whatever answers."""

    def __init__(self, ask_at: float, saving_leader: Task | None = None, save_grace: float = SAVE_GRACE) -> None:
        """Tasks are asked at ``ask_at``; ``saving_leader`` is the leader, if it is to write a checkpoint first."""
        self._saving_leader = saving_leader
        self.keeps_evaluator = False  # the others will restart, and it continues meanwhile
        self._ask_at: float | None = ask_at
        self._kill_at: float | None = ask_at + (STOP_GRACE if saving_leader is None else save_grace)

    @property
    def has_asked(self) -> bool:
        """Whether the tasks were asked to end."""
        return self._ask_at is None

    def advance(self, table: TaskTable, now: float, *, will_restart: bool) -> None:
        """Ask or kill the tasks if it is time to; ``will_restart``: another attempt is expected."""
        if self._ask_at is not None and now >= self._ask_at:
            self._ask_at, self.keeps_evaluator = None, will_restart
            table.kill(self._to_ask(table), signal.SIGTERM)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            table.kill(self._all(table), signal.SIGKILL)

    def _all(self, table: TaskTable) -> Iterable[Task]:
        return table.gang if self.keeps_evaluator else table.roles

    def _to_ask(self, table: TaskTable) -> list[Task]:
        """Return the tasks to ask: if the leader is to save, not the servers, which it needs for that and then ends."""
        saves = self._saving_leader in table.living(table.gang)
        return [task for task in self._all(table) if not (table.roles[task].serves and saves)]
