"""How an edit is made in the text of a cluster file: the text between the nodes is cut and pasted.

Nothing here checks that the resulting text means what was intended; ``launcher.spec.edit.key_edits`` does.
"""

from __future__ import annotations

import re

from launcher.spec.overrides import is_job
from launcher.spec.plain import Keys
from launcher.spec.yaml.nodes import TextNode
from launcher.spec.yaml.parser import root_of
from launcher.spec.yaml.writer import in_one_line

_SHORT: dict[type, str] = {str: "tasks", list: "addresses"}  # the key that a job's short form sets
_COLON = re.compile(r"\s*:")
_COMMA = re.compile(r"\s*,")
_COMMENT = re.compile(r"\s+#.*")
_COMMENTED = re.compile(r"(?:\n[ \t]*)*\n( *)#.*")  # the next line that is not empty, if it is a comment


def put(text: str, keys: Keys, written: str) -> str:
    """Return the text with a value written at the keys, whatever is there."""
    parent = root_of(text)
    if parent is None or parent.is_empty:
        return f"{text}{_pair(keys, written)}\n"
    own = parent
    for depth, key in enumerate(keys):
        if parent.kind in _SHORT and is_job(keys, depth):
            return put(_spelled_out(text, own, parent), keys, written)
        found = parent.find(key)
        if found is None:
            return _inserted(text, parent, _pair(keys[depth:], written))
        own, node = found
        if depth == len(keys) - 1:
            break
        if node.is_empty:
            return _put_behind_key(text, own, node, f"{{{_pair(keys[depth + 1 :], written)}}}")
        parent = node
    if parent.kind is dict and (node.is_empty or (parent.is_block and node.is_block)):
        return _put_behind_key(text, own, node, written)
    return replaced(text, node, written)


def replaced(text: str, node: TextNode, written: str) -> str:
    """Return the text with another value in a node's place; a comment after it keeps its column if it can."""
    before, old, rest = text[: node.start], text[node.start : node.end], text[node.end :]
    blanks = len(rest) - len(rest.lstrip(" "))
    if blanks and rest[blanks:].startswith("#") and "\n" not in old + written:
        rest = " " * max(1, blanks + len(old) - len(written)) + rest[blanks:]
    if not written and rest.startswith("\n"):
        before = before.rstrip(" ")
    return before + written + rest


def add_item(text: str, keys: Keys, written: str) -> str:
    """Return the text with one more item at the end of the list at the keys, which is made if there is none."""
    node = _at(text, keys)
    return _inserted(text, node, written) if node and node.kind is list else put(text, keys, f"[{written}]")


def cut(text: str, keys: Keys) -> str:
    """Return the text without a key or an item, and without its comma or its lines."""
    parent = _at(text, keys[:-1])
    found = parent.find(keys[-1]) if parent else None
    if parent is None or found is None:  # it is part of << or of an alias
        return text
    own, node = found
    if not parent.is_block:
        place = parent.items.index(found)
        return _cut_between_brackets(text, own.start, node.end, parent.items[place - 1][1].end if place else None)
    first, last = _start_of_line(text, own.start), _end_of_line(text, node.end)
    alone = text[first : own.start].strip() == ("-" if parent.kind is list else "")
    return text[:first] + text[last + 1 :] if alone else text


def _at(text: str, keys: Keys) -> TextNode | None:
    node = root_of(text)
    for key in keys:
        found = node.find(key) if node else None
        node = found[1] if found else None
    return node


def _pair(keys: Keys, written: str) -> str:
    """Return the text of a key and its value, none of which exists yet."""
    for key in reversed(keys[1:]):
        written = f"{{{in_one_line(key)}: {written}}}"
    return f"{in_one_line(keys[0])}: {written}".rstrip()


def _put_behind_key(text: str, own: TextNode, node: TextNode, written: str) -> str:
    """Write a value that is missing, or in the place of a block; a comment after the key stays."""
    colon = _COLON.match(text, own.end)
    start = colon.end() if colon else own.end
    new = (" " if colon else ": ") + written if written else ""
    if node.is_empty:
        return text[:start] + new + text[start:]
    comment = _COMMENT.search(text, start, _end_of_line(text, start))
    return text[:start] + new + (comment[0] if comment else "") + text[_end_of_line(text, node.end) :]


def _spelled_out(text: str, own: TextNode, node: TextNode) -> str:
    """Return the text with a job's short form (``2``, a list of addresses) written as a mapping."""
    key = _SHORT[node.kind]
    if node.is_block:
        start, end = _start_of_line(text, node.start), _end_of_line(text, node.end)
        column = max(node.column, own.column + 2)
        lines = re.sub(r"(?m)^(?=.)", " " * (column - node.column), text[start:end])
        return f"{text[:start]}{' ' * column}{key}:\n{lines}{text[end:]}"
    return f"{text[: node.start]}{{{key}: {text[node.start : node.end]}}}{text[node.end :]}"


def _inserted(text: str, node: TextNode, written: str) -> str:
    """Write a key or an item at the end of a mapping or a list."""
    if not node.items:
        return f"{text[: node.end - 1]}{written}{text[node.end - 1 :]}"
    if not node.is_block:
        return _inserted_in_brackets(text, node, written)
    start, dash = node.items[0][0].start, ""
    if node.kind is list:
        start, dash = text.rindex("-", 0, start), "- "
    column = start - _start_of_line(text, start)
    end = _behind_comments(text, _end_of_line(text, node.end), column)
    return f"{text[:end]}\n{' ' * column}{dash}{written}{text[end:]}"


def _inserted_in_brackets(text: str, node: TextNode, written: str) -> str:
    """Write it after the last item, or in a line of its own if that item has one."""
    own, last = node.items[-1]
    indentation = text[_start_of_line(text, own.start) : own.start]
    if indentation.strip():
        return f"{text[: last.end]}, {written}{text[last.end :]}"
    end = _end_of_line(text, last.end)
    if end >= node.end:  # the bracket is in this line as well
        return f"{text[: last.end]},\n{indentation}{written}{text[last.end :]}"
    comma, new = (",", "") if not _COMMA.match(text, last.end) else ("", ",")
    return f"{text[: last.end]}{comma}{text[last.end : end]}\n{indentation}{written}{new}{text[end:]}"


def _cut_between_brackets(text: str, start: int, end: int, before: int | None) -> str:
    """Take an item of [] or {} out; ``before`` is where the item before it ends."""
    comma = _COMMA.match(text, end)
    behind = comma.end() if comma else end
    first, last = _start_of_line(text, start), _end_of_line(text, behind)
    if not text[first:start].strip() and text[behind:last].strip()[:1] in ("", "#"):
        return text[:first] + text[last + 1 :]  # its line; a comma before it may stay
    if comma:
        return text[:start] + text[behind:].lstrip(" ")
    if before is not None and "#" not in text[before:start]:
        start = before
    return text[:start] + text[end:]


def _behind_comments(text: str, end: int, column: int) -> int:
    """Skip the comments that are deeper than a column: they belong to what ends there."""
    while (found := _COMMENTED.match(text, end)) and len(found[1]) > column:
        end = found.end()
    return end


def _start_of_line(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _end_of_line(text: str, index: int) -> int:
    """Return the end of the line at which a value ends; that of a block scalar (| or >) may be past it already."""
    if text[index - 1 : index] == "\n":
        return index - 1
    end = text.find("\n", index)
    return len(text) if end < 0 else end
