"""A docker that only pretends: a shell script on PATH that does what a test has written down for each command."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from launcher.contract.environment import TASK_LABEL
from launcher.contract.task import Task

# It never reaches an engine: PATH holds nothing but itself and the tools that it is made of.
_TOOLS = ("cat", "cp", "ls", "mkdir", "rm", "sed", "sh", "sleep", "touch")
_SCRIPT = """\
#!/bin/sh
cd '{world}' || exit 99
program=${{0##*/}}
printf '%s\\n' "$program $*" >>calls
what=$1
case "$program $1" in
    docker-compose* | *' compose')
        for word; do case "$word" in version | up | stop | down) break ;; esac; done
        what="compose $word" ;;
    *' container' | *' network' | *' volume') what="$1 $2" ;;
esac
[ -f "commands/$what" ] || {{ echo "nobody said what to do for: $what" >&2; exit 98; }}
. "./commands/$what"
"""
# An engine that works: what lies in up/ are the containers that compose makes, and their states are files.
_WORKS = {
    "version": "echo 27.0.1",
    "info": """echo '["name=seccomp"]'""",
    "build": ":",
    "compose version": "echo 2.29.0",
    "compose up": "cp up/* containers/; touch networks/net",
    "compose stop": "sed -i s/running/exited/ containers/*",
    "compose down": "rm -f containers/* networks/*",
    "container ls": "ls containers",
    "container inspect": "shift 2; mark='['; for id; do printf %s $mark; cat containers/$id; mark=,; done; echo ]",
    "container rm": "shift 3; for id; do rm -f containers/$id; done",
    "container kill": "sed -i 's/\"running\", \"ExitCode\": 0/\"exited\", \"ExitCode\": 137/' containers/$3",
    "container wait": "echo 137",
    "container start": "cp again/$3 containers/$3",
    # With --since, a file of its own: what a container prints after a start must not come before it.
    "container logs": 'for id; do :; done; case "$*" in *--since*) id=$id.since ;; esac; cat logs/$id 2>/dev/null',
    "network ls": "ls networks",
    "network rm": "shift 2; for id; do rm -f networks/$id; done",
    "volume ls": ":",
    "events": "echo start; exec sleep 60",  # what compose started before there were events has come up by now
}  # fmt: skip


class FakeDocker:
    """An engine that works until a test says otherwise, with docker compose 2."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self._bin = directory / "docker-world", directory / "docker-bin"
        for place in ("commands", "containers", "networks", "up", "again", "logs"):
            (self.world / place).mkdir(parents=True)
        self._bin.mkdir()
        for tool in _TOOLS:
            (self._bin / tool).symlink_to(shutil.which(tool) or pytest.fail(f"there is no {tool}"))
        monkeypatch.setenv("PATH", str(self._bin))
        for key in ("COMPOSE", "BASE_IMAGE", "BUILD_NETWORK", "SUDO_UID", "SUDO_GID"):
            monkeypatch.delenv(key, raising=False)
        for what, script in _WORKS.items():
            self.does(what, script)
        self.program("docker")

    def program(self, name: str) -> Path:
        """Put a program of that name on PATH."""
        path = self._bin / name
        path.write_text(_SCRIPT.format(world=self.world))
        path.chmod(0o755)
        return path

    def remove_program(self, name: str) -> None:
        """Take a program from PATH."""
        (self._bin / name).unlink()

    def does(self, what: str, script: str) -> None:
        """Let a command do this, in the shell's words; it lies in the directory of its world."""
        (self.world / "commands" / what).write_text(script + "\n")

    def prints(self, what: str, text: str, code: int = 0) -> None:
        """Let a command print this."""
        self.does(what, f"printf '%s\\n' {shlex.quote(text)}; exit {code}")

    def fails(self, what: str, message: str, code: int = 1) -> None:
        """Let a command fail with this message."""
        self.does(what, f"printf '%s\\n' {shlex.quote(message)} >&2; exit {code}")

    @property
    def calls(self) -> list[str]:
        """Every command so far."""
        path = self.world / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def asked(self, *words: str) -> list[str]:
        """Return the commands so far that have all of these words."""
        return [call for call in self.calls if set(words) <= set(call.split())]

    def container(
        self,
        task: str,
        state: str = "exited",
        code: int = 0,
        *,
        place: str = "up",
        started: int = 1,
        starved: bool = False,
        memory: int = 0,
    ) -> str:
        """Write a container down: in ``up`` compose makes it, in ``containers`` it is there already.

        ``starved``: the kernel killed a process in it. It may use so much ``memory``; 0: there is no limit.
        """
        identifier = task.replace(":", "-")
        described = {
            "Id": identifier,
            "State": {
                "Status": state,
                "ExitCode": code,
                "StartedAt": f"2026-01-01T00:00:{started:02}.5Z",
                "OOMKilled": starved,
            },
            "HostConfig": {"Memory": memory},
            "Config": {"Labels": {TASK_LABEL: str(Task.parse(task))}},
        }
        (self.world / place / identifier).write_text(json.dumps(described))
        return identifier

    def logs(self, task: str, lines: Sequence[str], *, since: bool = False) -> None:
        """Write down what a container prints, each line with a time of its own; ``since``: when asked for news."""
        stamped = [f"2026-01-01T00:00:{number:02}.000000000Z {line}\n" for number, line in enumerate(lines)]
        name = task.replace(":", "-") + (".since" if since else "")
        (self.world / "logs" / name).write_text("".join(stamped))

    def left(self) -> list[str]:
        """Return what is left of containers and networks."""
        return sorted(path.name for place in ("containers", "networks") for path in (self.world / place).iterdir())
