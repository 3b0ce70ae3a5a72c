"""YAML text as nodes that know where they stand; unlike yaml.compose, each alias is a node of its own, at its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from launcher.spec.yaml_nodes import LOADER

_KEEPS = re.compile(r"[|>]\d?\+")  # the head of a block scalar whose last empty lines count


@dataclass(frozen=True)
class TextNode:
    """A scalar, a list, a mapping or an alias, and where it stands in the text."""

    kind: type  # list, dict, or str for any scalar; an alias has that of what it stands for
    start: int  # an anchor is a part of it
    end: int  # of its content: blanks, empty lines and comments behind it are not a part of it
    line: int
    column: int
    value: str = ""  # of a scalar; the name of an alias
    is_alias: bool = False
    is_block: bool = False  # a collection without brackets, or a scalar behind | or >
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


def root_of(text: str) -> TextNode | None:
    """Return the document's node; None where there is none, or the text is not YAML."""
    events = yaml.parse(text, Loader=LOADER)
    try:
        first = next((event for event in events if isinstance(event, yaml.NodeEvent)), None)
        return _Reader(text, events).node(first) if first else None
    except yaml.YAMLError:
        return None


class _Reader:
    def __init__(self, text: str, events: Iterator[Any]) -> None:
        self._text = text
        self._events = events
        self._kinds: dict[str, type] = {}  # of what has an anchor
        self._closed = 0  # where the last collection ends

    def node(self, event: Any) -> TextNode:
        mark, closed = event.start_mark, event.end_mark
        place = {"start": mark.index, "line": mark.line, "column": mark.column}
        if isinstance(event, yaml.AliasEvent):
            kind, end = self._kinds.get(str(event.anchor), str), closed.index
            return TextNode(kind, end=end, value=f"*{event.anchor}", is_alias=True, **place)
        kind = str if isinstance(event, yaml.ScalarEvent) else list if _is_list(event) else dict
        if event.anchor:
            self._kinds[event.anchor] = kind
        if isinstance(event, yaml.ScalarEvent):
            block = event.style in ("|", ">")
            return TextNode(kind, end=self._end(event), value=event.value, is_block=block, **place)
        items = tuple(self._items(kind))
        end = max(part.end for part in items[-1]) if items and not event.flow_style else self._closed
        return TextNode(kind, end=end, is_block=not event.flow_style, items=items, **place)

    def _items(self, kind: type) -> Iterator[tuple[TextNode, TextNode]]:
        for event in self._events:
            self._closed = event.end_mark.index
            if isinstance(event, yaml.CollectionEndEvent):
                return
            own = self.node(event)
            yield own, own if kind is list else self.node(next(self._events))

    def _end(self, event: Any) -> int:
        start, end = int(event.start_mark.index), int(event.end_mark.index)
        if event.style not in ("|", ">") or _KEEPS.search(self._text[start:end].partition("\n")[0]):
            return end
        return start + len(self._text[start:end].rstrip())


def _is_list(event: Any) -> bool:
    return isinstance(event, yaml.SequenceStartEvent)
