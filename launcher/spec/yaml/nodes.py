"""The nodes of a YAML text: plain data that knows the place of each value, and what exactly is written there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from launcher.contract.faults import KeyPath


@dataclass(frozen=True)
class TextNode:
    """A scalar, a list, a mapping or an alias as it is written; each alias is a separate node at its own place."""

    kind: type  # list, dict, or str for any scalar; an alias has that of what it stands for
    start: int  # an anchor is a part of it
    end: int  # of its content: blanks, empty lines and comments after it are not a part of it
    line: int
    column: int
    value: str = ""  # of a scalar; the name of an alias
    is_alias: bool = False
    is_block: bool = False  # a collection without brackets, or a scalar after | or >
    items: tuple[tuple[TextNode, TextNode], ...] = ()  # keys with values; of a list, each item twice

    @property
    def is_empty(self) -> bool:
        """Whether nothing is written."""
        return self.start == self.end

    def find(self, key: str) -> tuple[TextNode, TextNode] | None:
        """Return the key's node and the value's; of a list, the item twice."""
        if self.kind is dict:
            return next((item for item in self.items if item[0].value == key), None)
        return next((item for index, item in enumerate(self.items) if str(index) == key), None)


@dataclass(frozen=True)
class Node:
    """A value and its place; a mapping has nodes by key, and the place of each is that of its key."""

    value: Any  # None, bool, int, float, str, dict[str, Node] or list[Node]
    where: str
    size: int = 1  # how many values it expands to
    typed: str | None = field(default=None, compare=False)  # a scalar as it was written, without quotes
    text: TextNode | None = field(default=None, repr=False, compare=False)  # None if no text has it as it is

    def plain(self) -> Any:
        """Return the value as plain data."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        return [child.plain() for child in self.value] if isinstance(self.value, list) else self.value

    def child(self, key: str | int) -> Node | None:
        """Return the node under that key or index."""
        if isinstance(self.value, dict):
            return self.value.get(key)
        inside = isinstance(self.value, list) and isinstance(key, int) and key < len(self.value)
        return self.value[key] if inside else None

    def locate(self, path: KeyPath) -> str:
        """Return the place of that key, or of the nearest key above it that exists."""
        node = self
        for key in path:
            child = node.child(key)
            if child is None:
                break
            node = child
        return node.where


def to_node(value: Any) -> Node:
    """Return plain data as nodes without a place."""
    if isinstance(value, dict):
        return Node({key: to_node(child) for key, child in value.items()}, "")
    return Node([to_node(item) for item in value] if isinstance(value, list) else value, "")
