"""Text from people and for people: numbers, counts, and what a terminal may show of what comes from elsewhere."""

from __future__ import annotations

import re

# Control characters but tab and newline, and surrogates: the bytes of an argument or a file name that are not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

_NUMBER = re.compile("[0-9]{1,18}")


def whole_number(text: str) -> int | None:
    """Return the number that these digits write; None for anything else.

    ``int`` alone also takes the digits of other scripts, and raises ValueError for more than 4,300 of them.
    """
    return int(text) if _NUMBER.fullmatch(text) else None


def plural(number: int, noun: str) -> str:
    """Return ``task`` for 1 and ``tasks`` for any other number."""
    return noun if number == 1 else f"{noun}s"


def counted(number: int, noun: str) -> str:
    """Return ``1 task`` or ``2 tasks``."""
    return f"{number} {plural(number, noun)}"


def printable(text: str) -> str:
    """Return the text with whatever could confuse a terminal written as an escape, like ``\\x1b``; lines stay lines."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def size(count: float) -> str:
    """Return so many bytes as ``540 MiB`` or ``2.2 GiB``."""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
