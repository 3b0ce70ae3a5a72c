"""Ending: how tasks are brought to their end. They are asked first, and killed where they do not follow."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from launcher.contract.task import Task
from launcher.supervise.roster import Roster

STOP_GRACE = 5.0  # seconds between asking a task to end and killing its group
SAVE_GRACE = 20.0  # the same for tasks that train, which finish their call and write a checkpoint


class Ending:
    """The end of one attempt. Armed as it begins, whatever the cause and whoever still answers."""

    def __init__(self, ask_at: float, saves_with: Task | None = None, save_grace: float = SAVE_GRACE) -> None:
        """Tasks are asked at ``ask_at``; ``saves_with`` is the leader, where it is to write a checkpoint before."""
        self._saves_with = saves_with
        self.spares_evaluator = False  # the others will start again, and it goes on meanwhile
        self._ask_at: float | None = ask_at
        self._kill_at: float | None = ask_at + (STOP_GRACE if saves_with is None else save_grace)

    @property
    def has_asked(self) -> bool:
        """Whether the tasks were asked to end."""
        return self._ask_at is None

    def go_on(self, roster: Roster, now: float, *, starts_again: bool) -> None:
        """Ask, or kill, whose time has come; ``starts_again``: as it looks now, there will be another attempt."""
        if self._ask_at is not None and now >= self._ask_at:
            self._ask_at, self.spares_evaluator = None, starts_again
            roster.kill(self._asked(roster), signal.SIGTERM)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            roster.kill(self._all(roster), signal.SIGKILL)

    def _all(self, roster: Roster) -> Iterable[Task]:
        return roster.gang if self.spares_evaluator else roster.roles

    def _asked(self, roster: Roster) -> list[Task]:
        """Whom to ask for the end: where the leader is to save, not the servers it needs for that and sends away."""
        saves = self._saves_with in roster.living(roster.gang)
        return [task for task in self._all(roster) if not (roster.roles[task].serves and saves)]
