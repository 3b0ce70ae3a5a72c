"""The files of a run's checkpoints: complete or absent for every reader, and the same on every machine.

Only the leader writes checkpoints, and launchers on several machines may share no disk: a member that does not hold
the checkpoint that all resume from gets the leader's files at the rendezvous.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from launcher.errors import LauncherError
from launcher.rundir import checkpoint_name, write_json

_STATE = "state.json"
_CHUNK = 1 << 20  # bytes


class Reader(Protocol):
    """Where files are read from."""

    def read(self, count: int, /) -> bytes:
        """Return at most ``count`` bytes; none at the end."""


@dataclass(frozen=True)
class Saved:
    """One complete checkpoint. ``identity`` distinguishes it from another run's checkpoint of the same step."""

    step: int
    identity: str
    directory: Path
    repeated: int = 0  # updates that may be in it twice

    def offer(self) -> dict[str, Any]:
        """Return what a member receives about it: step, identity, and each file with its size in bytes."""
        files = {path.name: path.stat().st_size for path in sorted(self.directory.iterdir())}
        return {"step": self.step, "id": self.identity, "files": files}


class CheckpointFiles:
    """The checkpoints in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def saved(self) -> list[Saved]:
        """Return the complete checkpoints, oldest first."""
        found = map(_read, self._directory.glob(f"step-*/{_STATE}"))
        return sorted((saved for saved in found if saved), key=lambda saved: saved.step)

    def newest(self) -> Saved | None:
        """Return the checkpoint of the highest step, or None if there is none."""
        return next(reversed(self.saved()), None)

    def newest_sound(self, say: Callable[[str], None]) -> Saved | None:
        """Return the newest checkpoint that is whole; those that are not are named and set aside.

        ``say`` is called with a sentence for each of them.
        """
        for place in sorted(self._directory.glob("step-*"), reverse=True):
            why = damage(place)
            if not why:
                return _read(place / _STATE)
            aside = self._aside(place)
            os.rename(place, aside)
            say(f"the checkpoint {place.name} is damaged ({why}) and set aside as {aside.name}")
        return None

    def _aside(self, place: Path) -> Path:
        names = (f"damaged-{place.name}{'' if number == 1 else f'-{number}'}" for number in count(1))
        return next(aside for name in names if not (aside := self._directory / name).exists())

    def sound(self) -> list[Saved]:
        """Return the checkpoints that are whole, oldest first."""
        return [saved for saved in self.saved() if not damage(saved.directory)]

    def at(self, step: int) -> Saved:
        """Return the checkpoint of that step; LauncherError if it is not there."""
        for saved in self.saved():
            if saved.step == step:
                return saved
        raise LauncherError(f"{self._directory} holds no checkpoint of step {step} to resume from")

    @contextmanager
    def writing(self, step: int, identity: str = "", repeated: int = 0) -> Iterator[Path]:
        """Give a directory to write a checkpoint's files to; afterwards it is complete, or gone after an error."""
        self._directory.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=self._directory, prefix=f".step-{step}."))
        try:
            yield draft
            identity = identity or secrets.token_hex(8)
            files = {path.name: _flushed(path) for path in sorted(draft.iterdir()) if path.name != _STATE}
            state = {"step": step, "id": identity, "repeated": repeated, "files": files}
            write_json(draft / _STATE, state)
            os.chmod(draft, 0o755)
            _flush(draft / _STATE)
            _flush(draft)
            self._put(draft, step, identity)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _put(self, draft: Path, step: int, identity: str) -> None:
        place = self._directory / checkpoint_name(step)
        while True:
            try:
                os.rename(draft, place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                there = _read(place / _STATE)
                if there and there.identity == identity:
                    return  # another task of this machine has just received the same
                self._set_aside(place)
            else:
                _flush(self._directory)  # those before it may be dropped next
                return

    def _set_aside(self, place: Path) -> None:
        aside = Path(tempfile.mkdtemp(dir=self._directory, prefix=f".{place.name}."))
        with suppress(FileNotFoundError):  # another task did
            os.rename(place, aside)
        shutil.rmtree(aside, ignore_errors=True)

    def keep(self, number: int) -> None:
        """Remove all but this number of the newest."""
        for old in self.saved()[:-number]:
            shutil.rmtree(old.directory)

    def remove_unfinished(self) -> None:
        """Remove what a task that was killed has left incomplete."""
        for unfinished in self._directory.glob(".step-*"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def receive(self, offer: Mapping[str, Any], reader: Reader) -> None:
        """Write the files of an offer, whose content follows; EOFError if it breaks off, OSError if the disk fails."""
        with self.writing(int(offer["step"]), str(offer["id"])) as draft:
            for name, size in offer["files"].items():
                with (draft / Path(name).name).open("wb") as file:
                    _copy(reader, file, int(size))


def damage(checkpoint: Path) -> str:
    """Return what is wrong with a checkpoint's files, each of which state.json has with its size and digest."""
    try:
        content = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        files: Mapping[str, Any] = content.get("files", {})
        if checkpoint.name != checkpoint_name(int(content["step"])):
            return f"{_STATE} is that of another step"
        for name, (size, digest) in files.items():
            found = (checkpoint / name).stat().st_size
            if found != size:
                return f"{name} has {found} of {size} bytes"
            if _digest(checkpoint / name) != digest:
                return f"{name} has other content than was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"{_STATE} cannot be read: {error}"
    return ""


def _flushed(path: Path) -> tuple[int, str]:
    """Return a file's size in bytes and its digest, once it would survive a loss of power."""
    _flush(path)
    return path.stat().st_size, _digest(path)


def _flush(path: Path) -> None:
    """Make a file's content, or the names in a directory, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(state: Path) -> Saved | None:
    try:
        content = json.loads(state.read_text(encoding="utf-8"))
        return Saved(int(content["step"]), str(content.get("id", "")), state.parent, int(content.get("repeated", 0)))
    except FileNotFoundError:
        return None  # the leader has just dropped it for newer ones
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # damaged: newest_sound says so


def _copy(reader: Reader, file: BinaryIO, size: int) -> None:
    while size:
        try:
            chunk = reader.read(min(size, _CHUNK))
        except OSError:
            chunk = b""
        if not chunk:
            raise EOFError
        file.write(chunk)
        size -= len(chunk)
