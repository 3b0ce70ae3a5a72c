"""Files that are written whole or not at all, and JSON that may be damaged when it is read."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from launcher.errors import UsageError


@contextmanager
def written_beside(path: Path, text: str, *, to_disk: bool = False) -> Iterator[str]:
    """Write a text to a new private file beside its place; yields its name, which may be renamed, and cleans up."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            if to_disk:  # before the rename, so that not even a power cut leaves an empty file
                file.flush()
                os.fsync(file.fileno())
        yield name
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def write_whole(path: Path, text: str) -> None:
    """Write the text beside its place and rename it into it: no reader ever sees half a file."""
    with written_beside(path, text) as name:
        # A run's files are as readable as any other file the user makes.
        os.chmod(name, 0o644)
        os.replace(name, path)


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_whole(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of a run; UsageError if it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read ({why}); start a new run") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path} is damaged: it holds no JSON object; start a new run")
    return value


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the objects of a JSON-lines file, and how many lines are none; UsageError if it cannot be read."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); start a new run") from None
    found = [_object(line) for line in lines]
    return [one for one in found if one is not None], found.count(None)


def _object(line: bytes) -> dict[str, Any] | None:
    """Return a line's object; None for a line that is damaged, as a task that was killed may leave its last one."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def append_json(path: Path, value: Mapping[str, Any]) -> None:
    """Add one line to a JSON-lines file, whole or not at all; OSError if it cannot be written.

    A single write, so lines of several processes never mix.
    """
    line = (json.dumps(value) + "\n").encode()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if (size := os.fstat(descriptor).st_size) and os.pread(descriptor, 1, size - 1) not in (b"\n", b""):
            line = b"\n" + line  # after half a line, which a machine that lost power may have left
        written = os.write(descriptor, line)
        if written < len(line):  # the disk is full
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)
