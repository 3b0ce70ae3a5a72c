"""A file that is there exactly while a launcher's tasks have formed and are watched: a container's health check."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from launcher.contract.environment import READY_FILE_KEY
from launcher.errors import UsageError


@dataclass(frozen=True)
class ReadyFile:
    """The file that the environment variable LAUNCHER_READY_FILE names."""

    path: Path

    @classmethod
    def of_environment(cls) -> ReadyFile | None:
        """Return the file, made sure not to be there yet; None if nobody asks for one."""
        name = os.environ.get(READY_FILE_KEY)
        if not name:
            return None
        file = cls(Path(name))
        if not file.path.parent.is_dir():
            raise UsageError(f"{READY_FILE_KEY}: there is no directory {file.path.parent}")
        file.show(ready=False)
        return file

    def show(self, *, ready: bool) -> None:
        """Let the file be there, or not; UsageError if it cannot be written."""
        try:
            self.path.touch() if ready else self.path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{READY_FILE_KEY}: cannot write {self.path}: {error.strerror}") from None
