"""A checkout whose interpreters are shell scripts: the goals of the Makefile run, and nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INSTALLED = "-m pip install --disable-pip-version-check --quiet -r requirements.txt -e ."
INSTALLED_DEV = INSTALLED.replace("requirements", "requirements-dev")

# Answers what the set-up asks of a Python, and keeps a record of what it was asked to do.
INTERPRETER = """\
#!/bin/sh
case "$1 $2" in
    "-c "*) printf '{version}' ;;
    "-m venv") echo "venv by {version}" >>'{record}'; {venv} ;;
    "-m pip") if [ "$3" = install ]; then echo "$@" >>'{record}'; {pip}; fi ;;
    *) echo "$@" >>'{record}'; {launcher} ;;
esac
"""
CREATES_VENV = 'mkdir -p "$3/bin" && cp "$0" "$3/bin/python"'
LACKS_ENSUREPIP = 'mkdir -p "$3/bin"; echo "ensurepip is not available"; exit 1'


class Tree:
    """A checkout, and a PATH that holds the system's tools and the interpreters that a test puts there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "a tree"
        self.path = directory / "bin"
        self.record = directory / "record"
        self.path.mkdir()
        self.directory.mkdir()
        for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, self.directory)
        shutil.copytree(ROOT / ".make", self.directory / ".make")
        for tool in ("sh", "make", "cat", "cksum", "cp", "dirname", "flock", "mkdir", "mv", "rm", "sed", "sleep"):
            if found := shutil.which(tool):
                (self.path / tool).symlink_to(found)

    def add_python(
        self,
        name: str = "python3",
        *,
        version: str = "3.11",
        venv: str = CREATES_VENV,
        pip: str = "true",
        launcher: str = "true",
    ) -> Path:
        """Put an interpreter on PATH."""
        text = INTERPRETER.format(version=version, venv=venv, pip=pip, launcher=launcher, record=self.record)
        return self.add_tool(name, text)

    def replace_venv_python(self, pip: str) -> None:
        """Let the interpreter of .venv answer to pip in another way."""
        shutil.copy(self.add_python("other", pip=pip), self.directory / ".venv/bin/python")

    def add_tool(self, name: str, text: str) -> Path:
        file = self.path / name
        file.write_text(text)
        file.chmod(0o755)
        return file

    def environment(self) -> dict[str, str]:
        return {"PATH": str(self.path)}

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", *arguments],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def done(self) -> list[str]:
        """Return what interpreters were asked to do since the last call."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        self.record.unlink(missing_ok=True)
        return lines


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)
