"""Traces: what a start has made in the output directory, so that a start that is refused leaves none."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from launcher.rundir import LATEST, RunFiles, point_latest


@dataclass(frozen=True)
class Traces:
    """An output directory as it was before a start."""

    output: Path
    missing: Sequence[Path]  # directories that were not there, the deepest first
    latest: Path | None  # where the link pointed, if there was one
    existed: bool  # the run's directory

    @classmethod
    def of(cls, output: Path, files: RunFiles | None) -> Self:
        """Return what is there now; ``files``: of the run, unless it is a new one."""
        missing = [place for place in (output, *output.parents) if not place.exists()]
        link = output / LATEST
        existed = files is not None and files.directory.exists()
        return cls(output, missing, link.readlink() if link.is_symlink() else None, existed)

    def restore(self, files: RunFiles | None) -> None:
        """Remove what was made since then, if no task was started and no other launcher is there."""
        if files and not self.existed and files.has_begun:
            return
        with suppress(OSError):  # the refusal is what there is to say
            if files and not self.existed:
                shutil.rmtree(files.directory, ignore_errors=True)
            link = self.output / LATEST
            if files and link.is_symlink() and link.readlink() == Path(files.name) != self.latest:
                link.unlink() if self.latest is None else point_latest(self.output, self.latest)
            for place in self.missing:
                place.rmdir()
