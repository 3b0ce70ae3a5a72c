"""Text for people: counts, and what a terminal may show of names and values that come from elsewhere."""

from __future__ import annotations

import re

# Control characters but tab and newline, and surrogates: the bytes of an argument or a file name that are not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def plural(number: int, noun: str) -> str:
    """Return ``task`` for 1 and ``tasks`` for any other number."""
    return noun if number == 1 else f"{noun}s"


def counted(number: int, noun: str) -> str:
    """Return ``1 task`` or ``2 tasks``."""
    return f"{number} {plural(number, noun)}"


def printable(text: str) -> str:
    """Return the text with whatever could confuse a terminal written as an escape, like ``\\x1b``; lines stay lines."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
