"""Engine: what starts a plan's tasks somewhere. An engine is a module that has what this Protocol names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel

from launcher.contract.task import Task
from launcher.engines.traces import Traces
from launcher.errors import UsageError
from launcher.host.inventory import Inventory
from launcher.plan.plan import Plan, TaskPlan
from launcher.rundir import RunFiles
from launcher.spec.file import ClusterFile
from launcher.spec.yaml.writer import document
from launcher.whole_files import write_json, write_whole

if TYPE_CHECKING:
    from launcher.supervise.result import Outcome


class Screen(Protocol):
    """Where a run is watched. Raises OSError if nobody can watch any more."""

    def line(self, task: Task, text: str) -> None:
        """Show a line that a task printed."""

    def note(self, text: str) -> None:
        """Show a line of the launcher's own."""

    def progress(self, progress: Mapping[str, Any]) -> None:
        """Show how far the training is (nothing before the first step); called several times a second."""


@dataclass(frozen=True)
class Rendered:
    """What an engine writes for use by hand: one text, and those that belong beside it, by the end of their names."""

    text: str
    beside: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One start of a run: what was placed, which of its tasks start here, and what is known of its directory."""

    plan: Plan
    tasks: Sequence[TaskPlan]  # those that this launcher starts
    cluster_file: Mapping[str, Any]  # what was asked, after --set
    section: BaseModel | None  # what the cluster file says to this engine
    files: RunFiles | None  # of a run that exists or was given a name; None: a new one
    resumes: bool  # that run exists, and keeps its place
    changed: bool  # that run continues with other settings than before
    headline: str  # the first line to show
    screen: AbstractContextManager[Screen]
    say: Callable[[str], None]  # shows a line before there is a screen
    began: float  # when the launcher began, in seconds of ``time.monotonic``
    key: str = field(default="", repr=False)  # that the launchers of a run's parts share; empty: there is none

    @property
    def began_ns(self) -> int:
        """When the launcher began, in nanoseconds since the epoch."""
        return time.time_ns() - round((time.monotonic() - self.began) * 1e9)

    @property
    def output(self) -> Path:
        """Where the runs' directories are."""
        return Path(self.plan.directory) / self.plan.spec.run.output

    def make_directory(self) -> RunFiles:
        """Return the run's directory, made if it is not there; UsageError if it cannot be."""
        if self.files is None:
            return RunFiles.create(self.output, self.plan.spec.name)
        return self.files if self.resumes else RunFiles.join(self.output, self.files.name)

    @contextmanager
    def directory(self) -> Iterator[RunFiles]:
        """Yield the run's directory; if the start is then refused (UsageError), what was made for it is removed."""
        files, before = self.files, Traces.of(self.output, self.files)
        try:
            files = self.make_directory()
            yield files
        except UsageError:
            before.restore(files)
            raise

    def write_down(self, files: RunFiles, *, shared: bool = False) -> None:
        """Write what was asked and what was placed.

        ``shared``: several launchers share a new run's directory, and the first one's files stay.
        """
        if not shared or self.resumes or self.changed or not files.plan.exists():
            write_whole(files.cluster_file, document(self.cluster_file))
            write_json(files.plan, self.plan.to_dict())


class Engine(Protocol):
    """What every engine has."""

    @property
    def noun(self) -> str:
        """What one task is here: task, container."""

    @property
    def starts_parts(self) -> bool:
        """Whether a launcher may start a part of the cluster (--task, --host), and others the rest."""

    def plan(self, asked: ClusterFile, inventory: Inventory, here: Task | str | None = None) -> Plan:
        """Return what would be started; SpecError, with lines, for what this engine cannot start.

        ``here`` is the machine that the inventory is of, by a task or by its name; None: all are like it.
        """

    def network(self, plan: Plan, section: BaseModel | None) -> str:
        """Return what the tasks' network will let in and out, before anything is tried; empty if it is the host's."""

    def render(self, asked: ClusterFile, plan: Plan, source: Path, output: Path | None) -> Rendered:
        """Return the plan as text; UsageError if there is no such text.

        ``source`` is the cluster file, ``output`` the file that the text is for, if it is for one.
        """

    def run(self, request: Request) -> Outcome:
        """Start the tasks, see them through to their end, and leave nothing running, whatever happens.

        It makes the run's directory and writes down the plan, after whatever may refuse the start, and before the
        first task starts; it writes result.json at the end.
        """
