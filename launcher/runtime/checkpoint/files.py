"""The files of a run's checkpoints: complete or absent for every reader, and the same on every machine.

Only the leader writes checkpoints, and launchers on several machines may share no disk: a member that does not hold
the checkpoint that all resume from gets the leader's files at the rendezvous.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from launcher.errors import LauncherError
from launcher.rundir import checkpoint_name
from launcher.runtime.checkpoint.content import Reader, damage, flush, flushed, received
from launcher.runtime.checkpoint.progress import Progress, Watch
from launcher.runtime.checkpoint.saved import STATE, Offer, Saved, read_saved
from launcher.whole_files import write_json


class CheckpointFiles:
    """The checkpoints in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def saved(self) -> list[Saved]:
        """Return the complete checkpoints, oldest first."""
        found = map(read_saved, self._directory.glob(f"step-*/{STATE}"))
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
                return read_saved(place / STATE)
            self._name_damaged(place, why, say)
        return None

    def holds(self, offer: Offer, say: Callable[[str], None], watch: Watch) -> bool:
        """Whether this checkpoint is here and whole; if it is here and damaged, it is named and set aside."""
        place = self._directory / checkpoint_name(offer.step)
        there = read_saved(place / STATE)
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
            files = {path.name: flushed(path) for path in sorted(draft.iterdir()) if path.name != STATE}
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
        write_json(draft / STATE, state.to_dict())
        os.chmod(draft, 0o755)
        flush(draft / STATE)
        flush(draft)
        self._put(draft, state.step, state.identity)

    def _put(self, draft: Path, step: int, identity: str) -> None:
        place = self._directory / checkpoint_name(step)
        while True:
            try:
                os.rename(draft, place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                there = read_saved(place / STATE)
                if there and there.identity == identity:
                    return  # another task of this machine has just received the same
                self._drop(place)
            else:
                flush(self._directory)  # those before it may be dropped next
                return

    def _drop(self, place: Path) -> None:
        """Remove a checkpoint: it is gone at once, however long its files take to remove."""
        aside = self._directory / f".{place.name}.{secrets.token_hex(4)}"
        with suppress(FileNotFoundError):  # another task did
            os.rename(place, aside)
        shutil.rmtree(aside, ignore_errors=True)

    def keep(self, number: int) -> None:
        """Remove all but this number of the newest."""
        for old in self.saved()[:-number]:
            self._drop(old.directory)

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
            files = {name: (one[0], received(draft / name, one, reader, progress)) for name, one in offer.files.items()}
            self._complete(draft, replace(offer, files=files))
