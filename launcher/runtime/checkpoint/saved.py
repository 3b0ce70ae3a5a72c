"""What is known of a checkpoint without its content: Saved, as it is on this disk, and Offer, as others hear of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATE = "state.json"


@dataclass(frozen=True)
class Saved:
    """One complete checkpoint. ``identity`` distinguishes it from another run's checkpoint of the same step."""

    step: int
    identity: str
    directory: Path
    repeated: int = 0  # updates that may be in it twice

    def offer(self) -> Offer:
        """Return what a member hears about it."""
        files = json.loads((self.directory / STATE).read_text(encoding="utf-8")).get("files")
        if files is None:  # of an earlier version
            there = sorted(path for path in self.directory.iterdir() if path.name != STATE)
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
            raise ValueError(f"this describes no checkpoint: {error}") from None


def read_saved(state: Path) -> Saved | None:
    """Return the checkpoint of a state.json; None if there is none, or if it is damaged."""
    try:
        offer = Offer.from_dict(json.loads(state.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None  # the leader has just dropped it for newer ones
    except (OSError, ValueError, RecursionError):
        return None  # damaged: newest_sound says so
    return Saved(offer.step, offer.identity, state.parent, offer.repeated)
