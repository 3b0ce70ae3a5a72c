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
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from launcher.errors import LauncherError
from launcher.rundir import checkpoint_name, write_json
from launcher.runtime.checkpoint.progress import Progress, Watch

_STATE = "state.json"
_CHUNK = 1 << 20  # bytes
_FLUSH_EVERY = 1 << 28  # received bytes, so that the last flush is short and the sender hears of progress


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

    def offer(self) -> Offer:
        """Return what a member hears about it."""
        files = json.loads((self.directory / _STATE).read_text(encoding="utf-8")).get("files")
        if files is None:  # of an earlier version
            there = sorted(path for path in self.directory.iterdir() if path.name != _STATE)
            files = {path.name: (path.stat().st_size, "") for path in there}
        files = {name: (size, digest) for name, (size, digest) in files.items()}
        return Offer(self.step, self.identity, self.repeated, files)


@dataclass(frozen=True)
class Offer:
    """A checkpoint that all resume from; step 0 is the job as it was built, without files.

    ``files`` has each file's bytes and digest, as they were when it was written, in the order in which they are sent.
    """

    step: int
    identity: str = ""
    repeated: int = 0
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(size for size, _ in self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """Return it as state.json and a message have it; ``from_dict`` reads it back."""
        files = {name: list(one) for name, one in self.files.items()}
        return {"step": self.step, "id": self.identity, "repeated": self.repeated, "files": files}

    @classmethod
    def from_dict(cls, values: object) -> Offer:
        """Read what another task sent; ValueError for anything but an offer."""
        try:
            step, repeated = int(values["step"]), int(values.get("repeated", 0))  # type: ignore[index, attr-defined]
            sent = values.get("files", {})  # type: ignore[attr-defined]
            files = {Path(name).name: (int(size), str(digest)) for name, (size, digest) in sent.items()}
            return cls(step, str(values.get("id", "")), repeated, files)  # type: ignore[attr-defined]
        except (TypeError, KeyError, AttributeError, OverflowError) as error:
            raise ValueError(f"no offer of a checkpoint: {error}") from None


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

    def newest_sound(self, say: Callable[[str], None], watch: Watch) -> Saved | None:
        """Return the newest checkpoint that is whole; those that are not are named and set aside.

        ``say`` is called with a sentence for each of them. Only the one that is returned, and those set aside, are
        read: no other is resumed from.
        """
        for place in sorted(self._directory.glob("step-*"), reverse=True):
            why = damage(place, watch)
            if not why:
                return _read(place / _STATE)
            self._name_damaged(place, why, say)
        return None

    def holds(self, offer: Offer, say: Callable[[str], None], watch: Watch) -> bool:
        """Whether this checkpoint is here and whole; if it is here and damaged, it is named and set aside."""
        place = self._directory / checkpoint_name(offer.step)
        there = _read(place / _STATE)
        if there is None or there.identity != offer.identity:
            return False
        if why := damage(place, watch):
            self._name_damaged(place, why, say)
        return not why

    def _name_damaged(self, place: Path, why: str, say: Callable[[str], None]) -> None:
        aside = self._aside(place)
        with suppress(FileNotFoundError):  # another task of this machine did
            os.rename(place, aside)
        say(f"the checkpoint {place.name} is damaged ({why}) and set aside as {aside.name}")

    def _aside(self, place: Path) -> Path:
        names = (f"damaged-{place.name}{'' if number == 1 else f'-{number}'}" for number in count(1))
        return next(aside for name in names if not (aside := self._directory / name).exists())

    def at(self, step: int) -> Saved:
        """Return the checkpoint of that step; LauncherError if it is not there."""
        for saved in self.saved():
            if saved.step == step:
                return saved
        raise LauncherError(f"{self._directory} holds no checkpoint of step {step} to resume from")

    @contextmanager
    def writing(self, step: int, repeated: int = 0) -> Iterator[Path]:
        """Give a directory to write a checkpoint's files to; afterwards it is complete, or gone after an error."""
        with self._draft(step) as draft:
            yield draft
            files = {path.name: _flushed(path) for path in sorted(draft.iterdir()) if path.name != _STATE}
            self._complete(draft, Offer(step, secrets.token_hex(8), repeated, files))

    @contextmanager
    def _draft(self, step: int) -> Iterator[Path]:
        self._directory.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=self._directory, prefix=f".step-{step}."))
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _complete(self, draft: Path, state: Offer) -> None:
        """Make flushed files a checkpoint."""
        write_json(draft / _STATE, state.to_dict())
        os.chmod(draft, 0o755)
        _flush(draft / _STATE)
        _flush(draft)
        self._put(draft, state.step, state.identity)

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

    def receive(self, offer: Offer, reader: Reader, watch: Watch) -> None:
        """Write the files of an offer, whose content follows.

        Each file's digest is that of the offer, which was made when it was written. EOFError if the content breaks
        off, OSError if the disk fails, LauncherError if other content arrives than was written.
        """
        progress = Progress(f"receiving checkpoint step-{offer.step}", offer.total, watch)
        with self._draft(offer.step) as draft:
            files = {
                name: (one[0], _received(draft / name, one, reader, progress)) for name, one in offer.files.items()
            }
            self._complete(draft, replace(offer, files=files))


def damage(checkpoint: Path, watch: Watch = lambda _: None) -> str:
    """Return what is wrong with a checkpoint's files, each of which state.json has with its size and digest.

    Reads all of them: ``watch`` is told how far that is.
    """
    try:
        content = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        files: Mapping[str, Any] = content.get("files", {})
        if checkpoint.name != checkpoint_name(int(content["step"])):
            return f"{_STATE} is that of another step"
        for name, (size, _) in files.items():
            found = (checkpoint / name).stat().st_size
            if found != size:
                return f"{name} has {found} of {size} bytes"
        total = sum(size for size, _ in files.values())
        progress = Progress(f"verifying checkpoint step-{content['step']}", total, watch)
        for name, (_, digest) in files.items():
            if _digest(checkpoint / name, progress) != digest:
                return f"{name} has other content than when it was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
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


def _digest(path: Path, progress: Progress | None = None) -> str:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            if progress:
                progress.add(count)
    return digest.hexdigest()


def _read(state: Path) -> Saved | None:
    try:
        content = json.loads(state.read_text(encoding="utf-8"))
        return Saved(int(content["step"]), str(content.get("id", "")), state.parent, int(content.get("repeated", 0)))
    except (FileNotFoundError, NotADirectoryError):
        return None  # the leader has just dropped it for newer ones
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None  # damaged: newest_sound says so


def _received(path: Path, expected: tuple[int, str], reader: Reader, progress: Progress) -> str:
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
