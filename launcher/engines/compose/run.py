"""ContainerRun: a run in containers of this machine, from its image to the removal of everything but the image."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shlex
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launcher.contract.history import OWN
from launcher.contract.task import Task
from launcher.engines.compose.docker import PATIENCE, Docker, last_lines, no_answer
from launcher.engines.compose.image import Image
from launcher.engines.compose.logs import ContainerLogs
from launcher.engines.compose.stream import Answer, Stream, inquiry
from launcher.engines.compose.supervisor import ContainerSupervisor, RestartContainer
from launcher.engines.engine import Screen
from launcher.engines.event_loop import EventLoop
from launcher.errors import FormationError, LauncherError, UsageError
from launcher.plan.plan import Plan
from launcher.rundir import RunFiles
from launcher.supervise.events import Say
from launcher.supervise.shutdown import Limits, StopSignals

_KILL = 1.0  # seconds for the engine to kill what has not ended by itself
_LAST = 0.5  # seconds of run.grace for what follows the removal of what is left
_TICK = 0.1  # seconds to wait for events before the clock is read
_POLL = 2.0  # seconds between two questions for the containers' states, unless an event asks for one
_SETTLE = 0.2  # seconds after an event: several containers end in the same moment
_QUICK = 4.0  # seconds after which a build shows its output
_LAST_LINES = 12  # of a command that failed
_BUILD_TIMEOUT, _UP_TIMEOUT, _DOWN_TIMEOUT = 3600.0, 180.0, 120.0  # seconds
_DRAIN_TIMEOUT = 5.0  # seconds for the last lines of containers that have ended
_WAITING, _WAITING_EVERY = "waiting for ", 4.0  # a line that tasks repeat every 5 seconds
_LAST_REPORT = 8192  # bytes at the end of metrics.jsonl that hold the last report


@dataclass(frozen=True)
class ContainersEnded:
    """How a run in containers ended; ``cause`` is there if the containers themselves are the reason."""

    exit_code: int
    cause: tuple[Task, str] | None = None


class ContainerRun:
    """One run of a containerised plan; it leaves no container, network or volume behind."""

    def __init__(
        self, plan: Plan, files: RunFiles, docker: Docker, screen: Screen, environment: Mapping[str, str]
    ) -> None:
        """``environment`` is what the variables of the run's compose file are taken from."""
        self._files, self._docker, self._environment = files, replace(docker, ask=self._ask), environment
        self._project = project_name(files.directory)
        self._signals: list[int] = []
        self._grace = plan.spec.run.grace
        self._stop_signals = StopSignals(self._grace)
        self._cleans_up = False
        self._loop = EventLoop(screen, self._signalled)
        self._poll_at = 0.0
        self._report = _LastReport(files.metrics)
        self._waiting_shown = ("", 0.0)  # what was said last of who is missing, and when
        self._logs = ContainerLogs(self._docker, (task.task for task in plan.tasks), self._loop.selector, self._line)
        roles, run = {task.task: task.role for task in plan.tasks}, plan.spec.run
        self._supervisor = ContainerSupervisor(roles, plan.quorum, run.restarts, run.start_timeout)

    def run(self, image: Image, headline: str = "") -> ContainersEnded:
        """Say the headline, build the image, run the cluster to its end, and clean up, whatever happens.

        LauncherError if the image cannot be built, FormationError if the containers cannot start.
        """
        with self._loop.signals():
            if headline:  # its reader may already press Ctrl-C
                self._loop.say(headline)
            self._build(image)
            if not self._signals:
                self._run_containers()
        if self._signals and not self._supervisor.leader_ended:
            return ContainersEnded(130 if self._signals[0] == signal.SIGINT else 143)
        return ContainersEnded(self._supervisor.exit_code, self._supervisor.cause)

    def _signalled(self, number: int) -> None:
        shortens = self._stop_signals.shortens(number, time.monotonic())
        if shortens or not self._signals:
            self._signals.append(number)

    # The steps

    def _run_containers(self) -> None:
        try:
            with self._cleaned_up():
                self._up()
                self._watch_containers()
        except LauncherError as error:
            if not self._signals:
                raise
            self._loop.say(str(error))

    def _build(self, image: Image) -> None:
        done = self._call("docker build", image.build, _BUILD_TIMEOUT, announced=f"building the image {image.name}")
        if done.exit_code and not self._signals:
            raise LauncherError(f"the image {image.name} could not be built:\n{last_lines(done.output, _LAST_LINES)}")

    def _up(self) -> None:
        done = self._compose("up", "--detach", "--no-build", seconds=_UP_TIMEOUT)
        if done.exit_code and not self._signals:
            raise FormationError(f"the containers could not start:\n{last_lines(done.output, _LAST_LINES)}")

    def _watch_containers(self) -> None:
        with contextlib.closing(Stream(self._docker.events(self._project), self._loop.selector, self._heard)):
            while not self._supervisor.over and not self._signals:
                if time.monotonic() >= self._poll_at:
                    self._poll_at = time.monotonic() + _POLL
                    self._poll()
                self._turn()

    def _poll(self) -> None:
        containers = self._docker.containers(self._project)
        self._logs.follow(containers)
        for action in self._supervisor.observe(containers, time.monotonic()):
            match action:
                case RestartContainer(task, kill):
                    self._docker.start(containers[task], kill=kill)
                case Say(text):
                    self._loop.say(text)

    @contextlib.contextmanager
    def _cleaned_up(self) -> Iterator[None]:
        try:
            yield
            self._end_containers()
        finally:
            self._cleans_up = True
            self._logs.close()
            self._compose("down", "--volumes", "--remove-orphans", "--timeout=1", seconds=_DOWN_TIMEOUT, patience=9)
            self._remove_rest()

    def _remove_rest(self) -> None:
        try:
            left = self._docker.remove(self._project)
        except LauncherError as error:
            self._loop.say(f"{error}; to remove what is left of this run: {down(self._docker, self._files)}")
        else:
            if left:
                self._loop.say(f"the engine would not remove {', '.join(left)}")

    def _end_containers(self) -> None:
        """Let the containers end, by themselves or asked to; a second signal kills them."""
        if any(not container.ended for container in self._docker.containers(self._project).values()):
            seconds = self._seconds_to_save if not self._supervisor.leader_ended else 1
            self._compose("stop", f"--timeout={seconds}", seconds=2.0 * seconds + 10.0, patience=1)
        containers = self._docker.containers(self._project)
        self._logs.follow(containers)
        until = min(time.monotonic() + _DRAIN_TIMEOUT, self._limit)
        while not self._logs.ended and time.monotonic() < until:
            self._turn()
            self._logs.follow(containers)  # the last start of a container whose lines of the start before came late

    @property
    def _seconds_to_save(self) -> int:
        """Whole seconds that the containers have until the engine kills them."""
        now = time.monotonic()
        return max(1, round(min(self._limit, Limits.of(self._grace, now).kill_by) - now - _KILL))

    @property
    def _limit(self) -> float:
        """By when a command has to end, if a signal has asked for the end of everything."""
        limits = self._stop_signals.limits
        return limits.end_by - _LAST if self._cleans_up else limits.kill_by

    # Commands

    def _compose(self, verb: str, *arguments: str, seconds: float, patience: int = 0) -> _Done:
        place = ("--project-name", self._project, "--file", str(self._files.compose))
        command = [*self._docker.compose, *place, verb, *arguments]
        return self._call(" ".join([*self._docker.compose, verb]), command, seconds, patience=patience)

    def _call(
        self, name: str, command: Sequence[str], seconds: float, *, announced: str = "", patience: int = 0
    ) -> _Done:
        """Run a command to its end, or until more than ``patience`` signals have come.

        ``announced`` is said, and all that the command prints is shown, once it has turned out not to be quick.
        """
        began, lines, shown = time.monotonic(), list[str](), 0
        stream = Stream(command, self._loop.selector, lines.append, self._environment)
        with contextlib.closing(stream):
            while (exit_code := stream.exit_code) is None and len(self._signals) <= patience:
                self._turn()
                took = time.monotonic() - began
                if took >= seconds or time.monotonic() >= self._limit:
                    lines.append(f"{name} did not end within {min(seconds, round(took)):g} s")
                    break
                if announced and took >= _QUICK:
                    for line in [announced, *lines][shown:]:
                        self._loop.say(line)
                    shown = 1 + len(lines)
        return _Done(1 if exit_code is None else exit_code, "\n".join(lines))

    def _ask(self, *command: str) -> Answer | None:
        """Run a short command, while signals are heard; None if there is no such command."""
        began = time.monotonic()
        with contextlib.suppress(FileNotFoundError, PermissionError), inquiry(command, self._loop.selector) as answer:
            while (found := answer()) is None:
                took = time.monotonic() - began
                if took >= PATIENCE or time.monotonic() >= self._limit:
                    raise no_answer(command, min(PATIENCE, round(took, 1)))
                self._turn()
            return found
        return None

    def _turn(self) -> None:
        self._loop.wait(_TICK)
        self._loop.progress(self._report.read())

    def _heard(self, event: str) -> None:
        self._poll_at = min(self._poll_at, time.monotonic() + _SETTLE)

    # What is shown

    def _line(self, task: Task, text: str) -> None:
        if text.startswith(_WAITING):
            # Every task says this for its own machine; here all of them are on one.
            said, at = self._waiting_shown
            if text == said and time.monotonic() - at < _WAITING_EVERY:
                return
            self._waiting_shown = (text, time.monotonic())
        self._loop.line(task, text)


def refuse_second(docker: Docker, files: RunFiles) -> None:
    """Remove what a launcher that was killed has left of this run; UsageError if its containers still run."""
    project = project_name(files.directory)
    if any(not container.ended for container in docker.containers(project).values()):
        raise UsageError(f"{files.name} is running in containers already; to end it: {down(docker, files)}")
    docker.remove(project)


def down(docker: Docker, files: RunFiles) -> str:
    """Return the command that ends a run's containers, and removes them."""
    return shlex.join(
        [*docker.compose, "--project-name", project_name(files.directory), "--file", str(files.compose), "down"]
    )


@dataclass(frozen=True)
class _Done:
    exit_code: int
    output: str


class _LastReport:
    """The last line of metrics.jsonl, read only when the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed_at = 0
        self._progress: Mapping[str, Any] = {}

    def read(self) -> Mapping[str, Any]:
        """Return how far the training is; nothing before the first report."""
        # Not there yet, its line not yet whole, or none of a report.
        with contextlib.suppress(OSError, ValueError, IndexError, TypeError, KeyError, RecursionError):
            changed_at = self._path.stat().st_mtime_ns
            if changed_at != self._changed_at:
                self._changed_at = changed_at
                self._progress = _progress(self._path)
        return self._progress


def _progress(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LAST_REPORT))
        record: dict[str, Any] = json.loads(file.read().splitlines()[-1])
    return {"step": record["step"], "figures": {key: record[key] for key in record if key not in _NO_FIGURES}}


_NO_FIGURES = OWN


def project_name(directory: Path) -> str:
    """Return the compose project of a run's directory: small letters, digits, ``-`` and ``_``, for this run alone."""
    place = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:6]
    return f"launcher-{re.sub('[^a-z0-9_-]', '-', directory.name.lower())}-{place}"
