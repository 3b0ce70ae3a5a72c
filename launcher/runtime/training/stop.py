"""Stop: a request to end the training, which arrives as SIGTERM."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn


class Stop:
    """Whether this task was asked to stop, once ``listen`` was called."""

    def __init__(self) -> None:
        self.asked_at: float | None = None

    def listen(self) -> None:
        """Take SIGTERM from now on; needs the strategy before.

        MultiWorkerMirroredStrategy's runtime installs a SIGTERM handler of its own that only notes the signal, so
        that plain SIGTERM no longer ends the task.
        """
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked_at = self.asked_at or time.monotonic()

    def obey(self) -> NoReturn:
        """End this process as a SIGTERM that nobody takes does."""
        with contextlib.suppress(OSError, ValueError, AttributeError):  # the job has closed or replaced it
            sys.stdout.flush()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("SIGTERM is blocked")

    @property
    def asked(self) -> bool:
        """Whether it was asked."""
        return self.asked_at is not None

    def asked_for(self, seconds: float) -> bool:
        """Whether it was asked at least so long ago."""
        return self.asked_at is not None and time.monotonic() - self.asked_at >= seconds
