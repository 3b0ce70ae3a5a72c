"""Cluster files written: whole or not at all, through links, and one edit after the other."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from launcher.errors import UsageError

_PATIENCE = 10.0  # seconds that another edit may take
_AGAIN = 0.05  # seconds between two looks whether it is over
_BOM = "\ufeff"


def behind_links(path: Path) -> Path:
    """Return the file that a path leads to; where links lead in a circle, one of them."""
    return Path(os.path.realpath(path))


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the folder of the file, since the file itself is replaced by each edit."""
    parent = behind_links(path).parent
    try:
        folder = os.open(parent, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"{path} cannot be edited: {parent}: {error.strerror}") from None
    try:
        until = time.monotonic() + _PATIENCE
        while not _is_locked(folder):
            if time.monotonic() > until:
                raise UsageError(f"another edit of {parent} has not ended for {_PATIENCE:g} s")
            time.sleep(_AGAIN)
        yield
    finally:
        os.close(folder)


def replace(path: Path, text: str) -> None:
    """Replace a file's text, with its mode, owner and byte order mark kept; UsageError where that is impossible."""
    real = behind_links(path)
    try:
        state, mark = real.stat(), _BOM if real.read_bytes().startswith(_BOM.encode()) else ""
        with _beside(real, mark + text) as (file, name):
            os.fchmod(file, state.st_mode & 0o7777)
            if (state.st_uid, state.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file, state.st_uid, state.st_gid)
            os.replace(name, real)
    except OSError as error:
        raise UsageError(f"{real} cannot be written: {error.strerror}; it stays as it was") from None


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet; UsageError where it is, or where it cannot be."""
    real = behind_links(path)
    mask = os.umask(0)
    os.umask(mask)
    try:
        with _beside(real, text) as (file, name):
            os.fchmod(file, 0o666 & ~mask)
            os.link(name, real)  # where a rename would replace what somebody has written a moment ago
    except FileExistsError:
        raise UsageError(f"{path} is there already; nothing was written") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _is_locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _beside(real: Path, text: str) -> Iterator[tuple[int, str]]:
    """Write a text beside its place; yields the open file and its name, which is gone afterwards."""
    handle, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            yield file.fileno(), name
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)
