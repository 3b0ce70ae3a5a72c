"""Docker: the Docker engine of this machine and its compose, asked with the user's own commands."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.contract.environment import TASK_LABEL
from launcher.contract.task import Task
from launcher.engines.compose.supervisor import Container
from launcher.errors import LauncherError, UsageError

COMPOSE_KEY = "COMPOSE"  # in the environment: which compose to take, if a machine has both
_PROJECT_LABEL = "com.docker.compose.project"
PATIENCE = 30.0  # seconds for an answer of the engine
_KINDS = {"container": ("--all",), "network": (), "volume": ()}
_COMPOSES = (("docker", "compose"), ("docker-compose",))
_INSTALL = "install Docker Engine and its compose plugin (https://docs.docker.com/engine/install)"
_ALLOW = "use sudo, or let an administrator add you to the group docker (usermod -aG docker NAME) and log in again"


def _try(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Run a short command; None if there is no such command, LauncherError if it does not end."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
            start_new_session=True,  # a terminal's Ctrl-C is for the launcher, which knows what to do about it
        )
    except (FileNotFoundError, PermissionError):
        return None
    except subprocess.TimeoutExpired:
        raise no_answer(command, PATIENCE) from None


def no_answer(command: Sequence[str], seconds: float) -> LauncherError:
    """Return the error of an engine that has not answered for so long."""
    return LauncherError(f"{shlex.join(command[:3])} gave no answer for {seconds:g} s")


Try = Callable[..., subprocess.CompletedProcess[str] | None]


@dataclass(frozen=True)
class Docker:
    """An engine that answers, and the command of its compose."""

    compose: tuple[str, ...]  # ("docker", "compose") or ("docker-compose",)
    rootless: bool  # root inside a container is the user outside
    version: str = ""
    ask: Try = field(default=_try, compare=False)  # runs a short command; None if there is no such command

    @classmethod
    def find(cls) -> Docker:
        """Return the engine of this machine; UsageError with the remedy if it cannot be used."""
        answer = _try("docker", "version", "--format", "{{.Server.Version}}")
        if answer is None:
            raise UsageError(f"there is no docker command on this machine; {_INSTALL}, or run --on local")
        if answer.returncode:
            raise UsageError(_refusal(last_lines(answer.stderr, 1)))
        compose = _find_compose()
        options = _try("docker", "info", "--format", "{{json .SecurityOptions}}")
        rootless = options is not None and "rootless" in options.stdout
        return cls(compose, rootless, answer.stdout.strip())

    def compose_version(self) -> str:
        """Return the version of its compose, empty if that does not say it."""
        answer = _try(*self.compose, "version", "--short")
        return answer.stdout.strip() if answer else ""

    def containers(self, project: str) -> dict[Task, Container]:
        """Return the containers of a project by the task that each runs."""
        there = self.left_over(project, "container")
        inspected = self._ask("docker", "container", "inspect", *there) if there else "[]"
        return dict(_container(described) for described in json.loads(inspected or "[]"))

    def left_over(self, project: str, kind: str) -> list[str]:
        """Return the identifiers of a project's containers, networks or volumes."""
        wanted = ("--quiet", "--filter", f"label={_PROJECT_LABEL}={project}")
        return self._ask("docker", kind, "ls", *_KINDS[kind], *wanted).split()

    def start(self, container: Container, *, kill: bool = False) -> None:
        """Restart a container, killed before if it still runs; if that fails, its state shows it."""
        if kill:
            self.ask("docker", "container", "kill", container.identifier)
            self.ask("docker", "container", "wait", container.identifier)
        self.ask("docker", "container", "start", container.identifier)

    def remove(self, project: str) -> list[str]:
        """Remove whatever a project has left behind; return what could not be removed, as ``network 1f3a``."""
        for kind in _KINDS:
            force = ("--force",) if kind != "network" else ()
            if there := self.left_over(project, kind):
                self.ask("docker", kind, "rm", *force, *there)
        return [f"{kind} {name}" for kind in _KINDS for name in self.left_over(project, kind)]

    def events(self, project: str) -> tuple[str, ...]:
        """Return the command that prints a line whenever a container of the project starts or ends."""
        kinds = (f"--filter=event={event}" for event in ("start", "die", "destroy"))
        return "docker", "events", "--filter=type=container", f"--filter=label={_PROJECT_LABEL}={project}", *kinds

    def logs(self, container: Container, since: str) -> tuple[str, ...]:
        """Return the command that prints the container's lines, each with its time in front, until it ends."""
        after = ("--since", since) if since else ()
        return "docker", "container", "logs", "--follow", "--timestamps", *after, container.identifier

    def _ask(self, *command: str) -> str:
        # A container that is removed between two questions makes inspect fail, and print the others all the same.
        answer = self.ask(*command)
        if answer is None or (answer.returncode and not answer.stdout.strip()):
            why = last_lines(answer.stderr, 1) if answer else "there is no docker command any more"
            raise LauncherError(f"the Docker engine does not answer {shlex.join(command[:3])}: {why}")
        return answer.stdout


def last_lines(text: str, count: int) -> str:
    """Return the last lines of what a command printed, without empty ones."""
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-count:])


def _find_compose() -> tuple[str, ...]:
    chosen = os.environ.get(COMPOSE_KEY)
    for compose in [tuple(chosen.split())] if chosen else _COMPOSES:
        answer = _try(*compose, "version")
        if answer and answer.returncode == 0:
            return compose
    if chosen:
        raise UsageError(f"{COMPOSE_KEY} is {chosen!r}, which does not run; use 'docker compose' or docker-compose")
    raise UsageError(f"neither docker compose nor docker-compose is on this machine; {_INSTALL}")


def _refusal(why: str) -> str:
    if "permission denied" in why.lower():
        return f"the Docker engine does not let you in ({why}); {_ALLOW}"
    return f"the Docker engine does not answer ({why}); start it: sudo systemctl start docker"


def _container(described: Mapping[str, Any]) -> tuple[Task, Container]:
    state, labels = described["State"], described["Config"]["Labels"]
    container = Container(
        described["Id"],
        state["Status"],
        state["ExitCode"],
        state["StartedAt"],
        state.get("OOMKilled", False),
        described.get("HostConfig", {}).get("Memory", 0),
    )
    return Task.parse(labels[TASK_LABEL]), container
