"""A tree of control groups as files, and what a process reads of its own place in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def place(directory: Path, own: str, files: Mapping[str, str]) -> tuple[Path, Path]:
    """Write what the process reads of its groups, and their files; return the paths of both."""
    for name, content in files.items():
        path = directory / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (directory / "own").write_text(own)
    return directory / "own", directory / "cgroup"
