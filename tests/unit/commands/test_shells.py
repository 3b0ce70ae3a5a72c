"""Shells as a user has them: what is typed, completed with the tab key and run; fish tells what it offers."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ""),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; "),
}
# What the shell runs says what it got; what it asks while one types is the launcher itself.
LAUNCHER = f"""#!/bin/sh
if [ -n "$_LAUNCHER_COMPLETE" ]; then exec {sys.executable} -m launcher "$@"; fi
printf '<%s>' got "$@" end
"""


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, command: list[str]) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)

    def type(self, keys: str, wanted: str) -> str:
        """Type, and return what is wanted of all that the shell shows then."""
        os.write(self._terminal, keys.encode())
        shown, until = "", time.monotonic() + 30
        while time.monotonic() < until:
            if select.select([self._terminal], [], [], 0.1)[0]:
                shown += os.read(self._terminal, 65536).decode(errors="replace")
            if found := re.search(wanted, shown):
                return found[0]
        raise AssertionError(shown)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._terminal)


def needed(shell: str) -> None:
    """Skip if a shell is not there, except on CI, which installs it."""
    if not shutil.which(shell):
        assert not os.environ.get("CI")
        pytest.skip(f"there is no {shell} here")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cluster.yaml").write_text("job: hello\ncluster: {worker: 2}\n")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/launcher"
    program.write_text(LAUNCHER)
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture(params=list(SHELLS))
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    command, first = SHELLS[request.param]
    needed(request.param)
    shell = Terminal(command)
    shell.type(f'{first}eval "$(_LAUNCHER_COMPLETE={request.param}_source launcher)"; echo rea""dy\n', "ready")
    yield shell
    shell.close()


def test_what_is_typed_is_completed_after_breaks_too(terminal: Terminal) -> None:
    for typed, got in {
        "config se\tmode=a\t": "<config><set><mode=async>",
        "run --set mode=a\t": "<run><--set><mode=async>",
        "config set run.re\t5": "<config><set><run.restarts=5>",
        "config set run.network=h\tmode=s\t": "<config><set><run.network=host><mode=sync>",
        "run --task worker:\t1": "<run><--task><worker:1>",
        "config get cluster.worker.ta\t": "<config><get><cluster.worker.tasks>",
    }.items():
        assert terminal.type(f"launcher {typed}\n", "<got>.*<end>") == f"<got>{got}<end>"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("config set mode=a", ["mode=async"]), ("run --task worker:", ["worker:0", "worker:1"]), ("pl", ["plan"])],
)
def test_fish_offers_what_fits(typed: str, offered: list[str]) -> None:
    needed("fish")
    script = f"_LAUNCHER_COMPLETE=fish_source launcher | source; complete --do-complete='launcher {typed}'"
    said = subprocess.run(["fish", "--no-config", "--command", script], capture_output=True, text=True, check=True)
    assert [line.partition("\t")[0] for line in said.stdout.splitlines()] == offered
