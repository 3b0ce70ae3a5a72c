"""Writing an edited cluster file: checked before, whole or not at all, and one edit after the other."""

from __future__ import annotations

import difflib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from launcher.cluster.config import check, read
from launcher.errors import SpecError, UsageError
from launcher.rundir import write_whole

_PATIENCE = 10.0  # seconds that another edit may take
_AGAIN = 0.05  # seconds between two looks whether it is over
_BOM = "\ufeff"


def edit(path: Path, change: Callable[[str], str], *, dry_run: bool) -> None:
    """Change a file's text, show what changes, and write it unless this is a dry run.

    UsageError where the change cannot be made, or would leave a file that is wrong: then nothing is written.
    """
    real = path.resolve()  # a symbolic link stays one
    with _alone(real, path):
        before = read(path)
        after = _changed(before, change)
        try:
            check(after, path)
        except SpecError as error:
            raise UsageError(f"the edit is refused, and {path} stays as it is:\n{error}") from None
        show_diff(before, after, path)
        if not dry_run and after != before:
            _write(real, after)
    if after == before:
        click.echo(f"{path}: nothing to change")


def create(path: Path, text: str, *, force: bool) -> None:
    """Write a new file whole; UsageError where there is one already, unless ``force``, or where it cannot be."""
    try:
        write_whole(path, text) if force else _write_new(path, text)
    except FileExistsError:
        raise UsageError(f"{path} is there already; nothing was written") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _write_new(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


def show_diff(before: str, after: str, path: Path) -> None:
    """Print how a text changes, in colour on a terminal."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), str(path), str(path), n=1, lineterm="")
    for number, line in enumerate(lines):
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1]) if number > 1 else None
        click.echo(click.style(line, fg=colour, bold=number < 2))  # the two lines of the head


def _changed(text: str, change: Callable[[str], str]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n")
    ends = text.endswith("\n") or not text
    after = change(text if ends else text + "\n")
    return (after if ends else after.removesuffix("\n")).replace("\n", newline)


@contextmanager
def _alone(real: Path, path: Path) -> Iterator[None]:
    """Hold the folder of the file, since the file itself is replaced by each edit."""
    try:
        folder = os.open(real.parent, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"{path} cannot be edited: {real.parent}: {error.strerror}") from None
    try:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise UsageError(f"another edit of {real.parent} has not ended for {_PATIENCE:g} s") from None
                time.sleep(_AGAIN)
            else:
                break
        yield
    finally:
        os.close(folder)


def _write(real: Path, text: str) -> None:
    """Replace the file, with its mode and owner kept; UsageError where that is impossible."""
    state = real.stat()
    content = (_BOM if real.read_bytes().startswith(_BOM.encode()) else "") + text
    try:
        handle, beside = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    except OSError as error:
        raise UsageError(f"{real} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), state.st_mode & 0o7777)
            if (state.st_uid, state.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), state.st_uid, state.st_gid)
        os.replace(beside, real)
    except OSError as error:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise UsageError(f"{real} cannot be written: {error.strerror}; it stays as it was") from None
