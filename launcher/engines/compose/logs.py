"""ContainerLogs: what the containers of a run print, every line once, over every start of a container."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from launcher.contract.task import Task
from launcher.engines.compose.docker import Docker
from launcher.engines.compose.stream import Stream
from launcher.engines.compose.supervisor import Container

_NEVER = "0001-01-01"  # when the engine says that a container that has not started yet started


@dataclass
class _Log:
    """How far one container's lines have been read."""

    stream: Stream | None = None
    started_at: str = ""  # of the container's start that the stream was opened for
    last: str = ""  # the time of the last line; of fixed width, so that times compare as text


class ContainerLogs:
    """Follows the containers' lines; the engine ends a stream with its container, so each start gets a new one."""

    def __init__(
        self,
        docker: Docker,
        tasks: Iterable[Task],
        selector: selectors.BaseSelector,
        show: Callable[[Task, str], None],
    ) -> None:
        self._docker, self._selector, self._show = docker, selector, show
        self._logs = {task: _Log() for task in tasks}

    @property
    def ended(self) -> bool:
        """Whether nothing more can come of what is followed now."""
        return all(log.stream is None or log.stream.exit_code is not None for log in self._logs.values())

    def follow(self, containers: Mapping[Task, Container]) -> None:
        """Follow every container that has started since it was last followed."""
        for task, container in containers.items():
            log = self._logs.get(task)
            if log is None or container.started_at.startswith(_NEVER) or container.started_at == log.started_at:
                continue
            if log.stream is not None:
                if log.stream.exit_code is None:
                    continue  # it still has lines of the start before
                log.stream.close()
            log.started_at = container.started_at
            command = self._docker.logs(container, log.last)
            log.stream = Stream(command, self._selector, lambda line, task=task: self._read(task, line))  # type: ignore[misc]

    def close(self) -> None:
        """Follow nothing any more."""
        for log in self._logs.values():  # all at once, so that those that hang are waited for together
            if log.stream is not None:
                log.stream.ask_to_end()
        for log in self._logs.values():
            if log.stream is not None:
                log.stream.close()
                log.stream = None

    def _read(self, task: Task, line: str) -> None:
        at, _, text = line.partition(" ")
        # What has no time is the engine's own; what is not later than the last was shown when it came.
        if at[:1].isdecimal() and at > self._logs[task].last:
            self._logs[task].last = at
            self._show(task, text)
