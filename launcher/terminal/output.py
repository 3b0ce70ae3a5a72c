"""BufferedOutput: a stream whose reader may pause without blocking the writer."""

from __future__ import annotations

import errno
import os
import select
import time
from typing import TextIO

_MOST = 1 << 20  # bytes that may wait for a reader who has paused: a terminal after Ctrl-S, a pager
_MUCH = 1 << 16  # bytes that are written without a flush
_PATIENCE = 3.0  # seconds for that reader to continue if more would wait, and at the end


class BufferedOutput:
    """Writes what the reader takes when it is flushed or much waits, the rest later; OSError if nobody reads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._descriptor = stream, _descriptor(stream)
        self._waiting = bytearray()
        stream.flush()  # what was written before comes before

    @property
    def encoding(self) -> str:
        """The stream's."""
        return self._stream.encoding or "utf-8"

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    @property
    def is_behind(self) -> bool:
        """Whether something waits for the reader."""
        return bool(self._waiting)

    def write(self, text: str) -> int:
        """Keep the text until the next flush, or until much of it waits."""
        if self._descriptor is None:
            self._stream.write(text)
        else:
            self._waiting += text.encode(self.encoding, "replace")  # a terminal that knows no │ still works
            if len(self._waiting) >= _MUCH:
                self._pass_on(self._descriptor, _MOST)
        return len(text)

    def flush(self) -> None:
        """Write as much of what is kept as the reader takes."""
        if self._descriptor is None:
            self._stream.flush()
        else:
            self._pass_on(self._descriptor, _MOST)

    def finish(self) -> None:
        """Write all that is kept; TimeoutError if it is not read in time."""
        if self._descriptor is not None:
            self._pass_on(self._descriptor, 0)

    def _pass_on(self, descriptor: int, most: int) -> None:
        until = time.monotonic() + _PATIENCE
        while self._waiting:
            too_much = len(self._waiting) > most
            seconds = max(0.0, until - time.monotonic()) if too_much else 0.0
            if select.select([], [descriptor], [], seconds)[1]:
                # A pipe that is ready takes this many bytes without blocking.
                del self._waiting[: os.write(descriptor, self._waiting[: select.PIPE_BUF])]
            elif too_much:
                self._waiting.clear()
                raise TimeoutError(errno.ETIMEDOUT, f"nobody has read the output for {_PATIENCE:g} s")
            else:
                return


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except OSError:  # io.UnsupportedOperation: it is in memory, and takes everything
        return None
