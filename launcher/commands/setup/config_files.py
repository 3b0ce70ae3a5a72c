"""Writing cluster files: whole or not at all, through links, and one edit at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.errors import UsageError
from launcher.whole_files import written_beside

_PATIENCE = 10.0  # seconds to wait for another edit
_AGAIN = 0.05  # seconds between two attempts to lock
_BOM = "\ufeff"


def resolve_links(path: Path) -> Path:
    """Return the file that a path leads to; one of the links if they form a circle."""
    return Path(os.path.realpath(path))


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Lock the folder of the file, since the file itself is replaced by each edit."""
    parent = resolve_links(path).parent
    try:
        folder = os.open(parent, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"{path} cannot be edited: {parent}: {error.strerror}") from None
    try:
        until = time.monotonic() + _PATIENCE
        while not _is_locked(folder):
            if time.monotonic() > until:
                raise UsageError(f"another edit in {parent} has not finished within {_PATIENCE:g} s; try again")
            time.sleep(_AGAIN)
        yield
    finally:
        os.close(folder)


def replace(path: Path, text: str) -> None:
    """Replace a file's text, with its mode, owner and byte order mark kept; UsageError if that is impossible."""
    real = resolve_links(path)
    try:
        state, mark = real.stat(), _BOM if real.read_bytes().startswith(_BOM.encode()) else ""
        with written_beside(real, mark + text, to_disk=True) as name:
            os.chmod(name, state.st_mode & 0o7777)
            if (state.st_uid, state.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(name, state.st_uid, state.st_gid)
            os.replace(name, real)
    except OSError as error:
        raise UsageError(f"{real} cannot be written: {error.strerror}; it is unchanged") from None


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet; UsageError if it exists, or cannot be written."""
    real = resolve_links(path)
    mask = os.umask(0)
    os.umask(mask)
    try:
        with written_beside(real, text, to_disk=True) as name:
            os.chmod(name, 0o666 & ~mask)
            os.link(name, real)  # unlike a rename it never replaces a file that another process has just written
    except FileExistsError:
        raise UsageError(f"{path} exists already; nothing was written") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _is_locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
