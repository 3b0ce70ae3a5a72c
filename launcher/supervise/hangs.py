"""HangDetector: a task that stays in a phase, or makes no step, for too long. All are inspected, then one is named."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from launcher.contract.phases import Phase
from launcher.contract.task import Task
from launcher.supervise.causes import Cause
from launcher.supervise.events import Inspect, Inspected, TaskState
from launcher.supervise.phases import Phases
from launcher.supervise.progress import Progress
from launcher.supervise.task_table import TaskTable

INSPECTION_GRACE = 5.0  # seconds for the inspection of all tasks
FOLLOWER_GRACE = 20.0  # seconds in which the leader's launcher may find and end the culprit before the others do
LEARNED = 5.0  # times the longest step of the run so far, if that is more than run.stall_timeout


@dataclass(frozen=True)
class Patience:
    """How long a task may take, in seconds: for a step, and for each other phase; ``whole``: all tasks are seen here.

    A user's figure is a promise, so that what is learned from a run's own steps only adds to ``step``: one that takes
    half of it would otherwise leave no room for a step twice as long. The factor is that of NVIDIA's resiliency
    extension, which learns its timeouts in the same way.
    """

    step: float
    phases: Mapping[Phase, float] = field(default_factory=dict)
    whole: bool = True

    def for_step(self, longest: float, *, first: bool) -> tuple[float, str]:
        """Return the seconds for a step, of which the ``longest`` so far is known, and which bound that is, in words.

        ``first``: none was made yet. Where tasks run that are not seen here, it may have to wait for what they do.
        """
        unseen = [self.phases.get(phase, 0.0) for phase in (Phase.BUILD, Phase.DATA) if first and not self.whole]
        bounds = {
            "run.stall_timeout": self.step,
            f"{LEARNED:g} times the longest step so far": LEARNED * longest,
            "run.timeouts.build and run.timeouts.data, as the others may need them": sum(unseen),
        }
        name = max(bounds, key=lambda name: bounds[name])
        return bounds[name], name


class HangDetector:
    """Watches the progress of one attempt after another."""

    def __init__(self, patience: Patience, progress: Progress, phases: Phases, *, leads: bool = True) -> None:
        """``leads``: the leader is a task of this host."""
        self._patience, self._progress, self._phases = patience, progress, phases
        self._grace = 0.0 if leads else FOLLOWER_GRACE
        self._findings: dict[Task, Inspected] = {}
        self._until: float | None = None  # the end of the inspection, if there is one

    def reset(self) -> None:
        """Begin the next attempt."""
        self._until = None

    def is_hanging(self, living: Collection[Task], now: float) -> bool:
        """Whether one of the tasks stays in a phase for too long, or none makes a step although none is in another."""
        if self._phases.overdue(living, now - self._grace) or self._makes_no_step(living, now - self._grace):
            return True
        self._until = None
        return False

    def _makes_no_step(self, living: Collection[Task], now: float) -> bool:
        if self._phases.hold(living):
            return False
        active_at = max(self._progress.last_activity(living), self._phases.changed_at)
        return now - active_at >= self._step_bound[0]

    @property
    def _step_bound(self) -> tuple[float, str]:
        return self._patience.for_step(self._progress.longest_step, first=not self._progress.has_steps)

    def note(self, found: Inspected) -> None:
        """Note what the inspection of one task found."""
        self._findings[found.task] = found

    def inspect(self, table: TaskTable, tasks: Collection[Task], now: float) -> Mapping[Task, Inspected] | None:
        """Have these tasks inspected, once in each hang; return the findings, or None until they are complete.

        After INSPECTION_GRACE they count as complete, whatever is missing.
        """
        if self._until is None:
            self._until = now + INSPECTION_GRACE
            self._findings.clear()
            table.add(*(Inspect(task, can_answer=self._can_answer(table, task)) for task in tasks))
        if now < self._until and not self._findings.keys() >= set(tasks):
            return None
        return {task: self._findings.get(task, Inspected(task)) for task in tasks}

    def _can_answer(self, table: TaskTable, task: Task) -> bool:
        return table.states[task] is not TaskState.STARTED or self._phases.of(task) is not None

    def cause(self, findings: Mapping[Task, Inspected], now: float) -> Cause:
        """Return the cause that the findings of all living tasks show."""
        if late := self._phases.overdue(findings, now - self._grace):
            stay = next((stay for stay in late if findings[stay.task].suspended), late[0])
            return Cause.overdue(stay, self._phases.timeouts[stay.phase], findings[stay.task])
        culprit, how = self._progress.culprit(findings)
        return Cause.hang(culprit, *self._step_bound, how)
