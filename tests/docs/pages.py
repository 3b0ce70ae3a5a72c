"""The pages a user reads, and what they show: blocks of code, commands, and the parts that are generated."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from launcher.cli import launcher

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
# Commands that are not run with the others, and why.
ELSEWHERE = {
    "launcher run --on compose": "needs a Docker Engine; its own tests run it",
    "launcher run several.yaml --host node-a": "needs a machine of that name; tests of hosts run two",
    "launcher run several.yaml --host node-b": "as above",
    "launcher plan eight-gpus.yaml": "needs eight GPUs; asked on an invented machine instead",
}


def blocks(language: str, pages: Sequence[Path] = PAGES) -> list[str]:
    """Return every block of code in that language, page after page."""
    return [block for page in pages for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)]


def commands(*pages: Path) -> list[str]:
    """Return every line of the pages' ``sh`` blocks, in order; of all pages unless some are given."""
    return [line for block in blocks("sh", pages or PAGES) for line in block.splitlines() if line.strip()]


def block_named(language: str, first_line: str) -> str:
    """Return the one block that begins with that line."""
    (found,) = [block for block in blocks(language) if block.partition("\n")[0] == first_line]
    return found


def prose(page: Path) -> str:
    """Return the page without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def named_files(page: Path) -> Iterator[tuple[str, str]]:
    """Yield name and content of each file that a page shows: its block begins with a comment ``# NAME``."""
    for block in blocks(r"(?:yaml|python)", [page]):
        if found := re.match(r"# (\S+\.(?:yaml|py))\b", block):
            yield found[1], block


def run(command: str, directory: Path, patience: float = 170) -> str:
    """Run a command as a user who has .venv/bin on PATH, for so many seconds at most; return what it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # Under `make test` a user's make would take itself for a part of it, and say so.
    outer = ("MAKE", "MFLAGS", "MODE", "FILE", "ARGS")
    own = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    done = subprocess.run(
        command,
        shell=True,
        cwd=directory,
        env={**own, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_page(page: Path, directory: Path) -> None:
    """Run the page's commands for the launcher one after the other, beside the files that the page shows."""
    shutil.copy(ROOT / "cluster.yaml", directory)
    for name, content in named_files(page):
        (directory / name).write_text(content)
    for command in commands(page):
        if command.startswith("make ") or command in ELSEWHERE:  # make needs the repository: Makefile, .venv
            continue
        printed = run(command, directory)
        assert not command.startswith("launcher run mean.yaml") or "mean 4.5" in printed


def starts_clusters(page: Path) -> bool:
    """Whether a command of the page that is run starts TensorFlow clusters."""
    run_here = set(commands(page)) - ELSEWHERE.keys()
    return any(command.startswith("launcher run") or "--live" in command for command in run_here)


def asked(*arguments: str) -> str:
    """Return what the launcher prints for these arguments, asked in this process; raises what it raises."""
    answer: Any = CliRunner().invoke(launcher, arguments, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return str(answer.stdout)
