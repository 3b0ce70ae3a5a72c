"""Becoming another user in a program of a test."""

from __future__ import annotations

import codecs
import ctypes
import os

PR_SET_DUMPABLE = 4


def become(user: int) -> None:
    """Become that user for good, who need not be able to read this repository: import before what is needed."""
    for codec in ("ascii", "idna"):
        codecs.lookup(codec)  # while Python's own files can still be read
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # as after an exec: /proc/self is the user's own again
