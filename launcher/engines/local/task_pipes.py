"""TaskPipes: what the tasks of this host write, lines for the screen and reports for the Supervisor."""

from __future__ import annotations

import json
import selectors
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.contract.task import Task
from launcher.engines.local.report_pipe import ReportPipe
from launcher.engines.logs import LinePipe, NoiseFilter
from launcher.supervise.events import Reported

Reader = Callable[[Task, Iterable[str]], None]


@dataclass(frozen=True)
class Pipes:
    """What one task writes to."""

    output: LinePipe
    report: ReportPipe


class TaskPipes:
    """The pipes of every task that lives, read as the selector finds something in them."""

    def __init__(
        self, selector: selectors.BaseSelector, show: Callable[[Task, str], None], report: Callable[[Reported], None]
    ) -> None:
        """``show`` takes each line that is worth reading, ``report`` what a task reports."""
        self._selector, self._show, self._report = selector, show, report
        self._pipes: dict[Task, Pipes] = {}
        self._noise: dict[Task, NoiseFilter] = {}

    @property
    def tasks(self) -> list[Task]:
        """The tasks whose pipes are open."""
        return list(self._pipes)

    def open(self, task: Task, log: Path, reports: Path) -> int:
        """Open a task's pipes: for its output, which goes to the log as well, and, at the other path, its reports.

        Returns the end for its output.
        """
        self._pipes[task] = pipes = Pipes(LinePipe(log), ReportPipe(reports))
        self._noise[task] = NoiseFilter()
        return pipes.output.write_end

    def started(self, task: Task) -> None:
        """Let go of the ends that are the task's now, and start to read."""
        for pipe, read in self._readers(task):
            pipe.started()
            self._selector.register(pipe.read_end, selectors.EVENT_READ, self._reading(task, pipe, read))

    def catch_up(self, task: Task) -> None:
        """Take what a task has reported until now, if it lives."""
        if task in self._pipes:
            self._hear(task, self._pipes[task].report.lines())

    def close(self, task: Task) -> None:
        """Take the rest of what a task that has ended wrote, and close its pipes."""
        for pipe, read in self._readers(task):
            if pipe.read_end in self._selector.get_map():
                self._selector.unregister(pipe.read_end)
            read(task, pipe.close())
        del self._pipes[task]

    def _readers(self, task: Task) -> Iterator[tuple[LinePipe | ReportPipe, Reader]]:
        pipes = self._pipes[task]
        yield pipes.output, self._print
        yield pipes.report, self._hear

    def _reading(self, task: Task, pipe: LinePipe | ReportPipe, read: Reader) -> Callable[[], None]:
        def take() -> None:
            read(task, pipe.lines())
            if pipe.ended:  # the task has closed it, and may live on
                self._selector.unregister(pipe.read_end)

        return take

    def _print(self, task: Task, lines: Iterable[str]) -> None:
        noise = self._noise[task]
        for line in lines:
            if not noise.is_noise(line):
                self._show(task, line)

    def _hear(self, task: Task, lines: Iterable[str]) -> None:
        for line in lines:
            try:
                details = json.loads(line)
                event = Reported(task, details.pop("event"), details)
            except (ValueError, TypeError, KeyError, AttributeError):
                self._print(task, [line])  # the job wrote into the pipe, and can only have meant to
            else:
                self._report(event)
