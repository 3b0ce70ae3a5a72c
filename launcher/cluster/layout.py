"""The layout of a cluster file: two columns of indentation, no blanks at line ends, one empty line at most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from launcher.cluster.yaml_source import parse

_INDENT = 2  # columns


def tidy(text: str) -> str:
    """Return the text in that layout, with the same values and comments."""
    lines = [line.rstrip() for line in text.splitlines()]
    wanted = dict(_starts(yaml.compose(text, Loader=yaml.SafeLoader), 0))
    found: list[str] = []
    shift = 0
    for number, line in enumerate(lines):
        if not line:
            found += [""] if found and found[-1] else []
            continue
        indent = len(line) - len(line.lstrip())
        if number in wanted:
            shift = wanted[number] - indent
        elif line.lstrip().startswith("#"):
            found.append(" " * _of_comment(number, indent, lines, wanted) + line.lstrip())
            continue
        found.append(" " * max(0, indent + shift) + line.lstrip())
    after = "\n".join(found).rstrip("\n") + "\n"
    return after if _plain(after) == _plain(text) else text


def _starts(node: Any, depth: int) -> Iterator[tuple[int, int]]:
    """Yield each line that begins with a key or an item of a block, and the column where it belongs."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return
    for item in node.value:
        own, value = item if isinstance(item, tuple) else (item, item)
        yield own.start_mark.line, depth * _INDENT
        yield from _starts(value, depth + 1)


def _of_comment(number: int, indent: int, lines: list[str], wanted: dict[int, int]) -> int:
    """Return the column of a comment: that of what follows it, unless it stands deeper, at the end of a block."""
    following = next((line for line in range(number + 1, len(lines)) if line in wanted), None)
    before = next((line for line in range(number - 1, -1, -1) if line in wanted), None)
    for line in (following, before):
        if line is not None and len(lines[line]) - len(lines[line].lstrip()) == indent:
            return wanted[line]
    return wanted[following] if following is not None else indent


def _plain(text: str) -> Any:
    root, problems = parse(text, str)
    return None if problems or root is None else root.plain()
