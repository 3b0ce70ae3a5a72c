"""The content of a checkpoint's files: flushed to disk, verified, and received from another task."""

from __future__ import annotations

import hashlib
import json
import os
from io import FileIO
from pathlib import Path
from typing import Protocol

from launcher.errors import LauncherError
from launcher.rundir import checkpoint_name
from launcher.runtime.checkpoint.progress import Progress, Watch
from launcher.runtime.checkpoint.saved import STATE, Offer

_CHUNK = 1 << 20  # bytes
_FLUSH_EVERY = 1 << 28  # received bytes, so that the last flush is short and the sender hears of progress


class Reader(Protocol):
    """Where files are read from."""

    def read(self, count: int, /) -> bytes:
        """Return at most ``count`` bytes; none at the end."""


def damage(checkpoint: Path, watch: Watch = lambda _: None) -> str:
    """Return what is wrong with a checkpoint's files, each of which state.json has with its size and digest.

    Reads all of them: ``watch`` is told how far that is.
    """
    try:
        state = Offer.from_dict(json.loads((checkpoint / STATE).read_text(encoding="utf-8")))
        return _differs(checkpoint, state, watch)
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        return f"{Path(error.filename or checkpoint).name} cannot be read: {error.strerror}"
    except (ValueError, RecursionError) as error:
        return f"{STATE} cannot be read: {error}"


def _differs(checkpoint: Path, state: Offer, watch: Watch) -> str:
    if checkpoint.name != checkpoint_name(state.step):
        return f"{STATE} is that of another step"
    for name, (size, _) in state.files.items():
        found = (checkpoint / name).stat().st_size
        if found != size:
            return f"{name} has {found} of {size} bytes"
    progress = Progress(f"verifying checkpoint step-{state.step}", state.total, watch)
    for name, (_, digest) in state.files.items():
        if _digest(checkpoint / name, progress) != digest:
            return f"{name} has other content than when it was written"
    return ""


def flushed(path: Path) -> tuple[int, str]:
    """Return a file's size in bytes and its digest, once it would survive a loss of power."""
    flush(path)
    return path.stat().st_size, _digest(path)


def flush(path: Path) -> None:
    """Make a file's content, or the names in a directory, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def received(path: Path, expected: tuple[int, str], reader: Reader, progress: Progress) -> str:
    """Write a file's content as it arrives, and return its digest once it would survive a loss of power."""
    left, digest = expected[0], hashlib.sha256()
    with path.open("wb") as file:
        while left:
            chunk = _next(reader, min(left, _CHUNK))
            file.write(chunk)
            digest.update(chunk)
            progress.add(len(chunk))
            left -= len(chunk)
            if left % _FLUSH_EVERY < len(chunk):
                file.flush()
                os.fsync(file.fileno())
        file.flush()
        os.fsync(file.fileno())
    if expected[1] not in ("", digest.hexdigest()):
        raise LauncherError(f"{path.name} of the checkpoint arrived with other content than was written")
    return digest.hexdigest()


def _next(reader: Reader, count: int) -> bytes:
    try:
        chunk = reader.read(count)
    except OSError:
        chunk = b""
    if not chunk:
        raise EOFError
    return chunk


def _digest(path: Path, progress: Progress | None = None) -> str:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := _read_into(buffer, file, path):
            digest.update(buffer[:count])
            if progress:
                progress.add(count)
    return digest.hexdigest()


def _read_into(buffer: memoryview, file: FileIO, path: Path) -> int:
    try:
        return file.readinto(buffer)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # Python names no file here
