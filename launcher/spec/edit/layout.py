"""The layout of a cluster file: two columns of indentation, no blanks at line ends, one empty line at most."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.spec.edit.key_edits import means, plain_data
from launcher.spec.yaml.nodes import TextNode
from launcher.spec.yaml.parser import root_of

_INDENT = 2  # columns


def tidy(text: str) -> str:
    """Return the text in that layout, with the same values and comments; inside [], {}, | and > as it is."""
    root = root_of(text)
    if root is None or not root.is_block:
        return text
    wanted, held = dict(_starts(root, 0)), set(_continued(text, root))
    lines = [line if number in held else line.rstrip() for number, line in enumerate(text.splitlines())]
    found: list[str] = []
    for number, line in enumerate(lines):
        if number in held:
            found.append(line)
        elif not line:
            found += [""] if found and found[-1] else []
        else:
            found.append(" " * _column(number, lines, wanted) + line.lstrip())
    after = "\n".join(found).rstrip("\n") + "\n"
    return after if means(after, plain_data(text)) else text


def _starts(node: TextNode, depth: int) -> Iterator[tuple[int, int]]:
    """Yield each line that begins with a key or an item of a block, and the column where it belongs."""
    for own, value in node.items if node.is_block else ():
        yield own.line, depth * _INDENT
        yield from _starts(value, depth + 1)


def _continued(text: str, node: TextNode) -> Iterator[int]:
    """Yield each line in which a value continues, or follows its key, that is not a block of keys or items."""
    for own, value in node.items:
        if value.is_block and value.items:
            yield from _continued(text, value)
        else:
            yield from range(own.line + 1, text.count("\n", 0, value.end - 1) + 1)


def _column(number: int, lines: list[str], wanted: dict[int, int]) -> int:
    """Return the column of a line: a comment's is that of what follows, unless it is deeper, at a block's end."""
    if number in wanted:
        return wanted[number]
    indent = len(lines[number]) - len(lines[number].lstrip())
    following = next((line for line in range(number + 1, len(lines)) if line in wanted), None)
    before = next((line for line in range(number - 1, -1, -1) if line in wanted), None)
    for line in (following, before):
        if line is not None and len(lines[line]) - len(lines[line].lstrip()) == indent:
            return wanted[line]
    return wanted[following] if following is not None else indent
