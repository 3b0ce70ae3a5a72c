"""Line ends of an edited text: each line keeps its own, whether it ends as on Linux or as on Windows."""

from __future__ import annotations

from collections.abc import Callable
from difflib import SequenceMatcher


def keeping_line_ends(text: str, change: Callable[[str], str]) -> str:
    """Return the changed text; ``change`` sees lines that end with a newline, the last one too."""
    before = text.replace("\r\n", "\n")
    ends = before.endswith("\n") or not before
    after = change(before if ends else before + "\n")
    after = after if ends else after.removesuffix("\n")
    return after if before == text else _with_returns(text.split("\n"), after.split("\n"))


def _with_returns(before: list[str], after: list[str]) -> str:
    """Return the lines with the ends of those that were there before; a new one ends as most of them do."""
    bare = [line.removesuffix("\r") for line in before]
    usual = "\r" if 2 * sum(line.endswith("\r") for line in before) >= len(before) - 1 else ""
    lines = [line + usual for line in after[:-1]] + after[-1:]
    for start, new, size in SequenceMatcher(None, bare, after, autojunk=False).get_matching_blocks():
        lines[new : new + size] = before[start : start + size]
    return "\n".join(lines)
