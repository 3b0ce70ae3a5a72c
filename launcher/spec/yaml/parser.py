"""YAML text becomes nodes, without YAML's surprises.

Only ``true`` and ``false`` are booleans, only decimal numbers are numbers, nothing is a date or a sexagesimal number;
keys are always text. Duplicate keys, tags and several documents are refused; anchors, aliases and ``<<`` work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

import yaml

from launcher.contract.faults import KeyPath, dotted
from launcher.errors import Problem, SpecError
from launcher.spec.yaml.nodes import Node, TextNode

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is not in every build of PyYAML
# Bounds that no honest file comes near; without them a few lines of aliases expand to more than any memory.
MAX_NODES = 100_000
MAX_DEPTH = 40

_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KEEPS = re.compile(r"[|>]\d?\+")  # the head of a block scalar whose last empty lines count
_PLAIN_TAGS = {None, "!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq"))}

# Parts of the parser's messages, and the sentence for each; the first part that is found in a message counts.
_SENTENCES = {
    "mapping values are not allowed": "a ':' is not allowed here; put a value that contains ': ' in quotes, "
    "or fix the indentation",
    "',' or ']'": "a list that begins here with '[' is not closed with ']'",
    "',' or '}'": "a mapping that begins here with '{' is not closed with '}'",
    "unexpected end of stream": "text that begins here with a quote is not closed",
    "expected key": "the indentation does not fit the lines above",
    "expected <block end>": "the indentation does not fit the lines above",
    "'-' indicator": "the indentation does not fit the list above",
    "expected ':'": "a key without a ':' after it",
    "<document start>": "nothing can follow here; a bracket or brace is closed that was not opened",
    "block sequence entries": "a list cannot begin here; write [a, b], or put '- a' in a line of its own",
    "mapping keys are not": "a value cannot begin with '? '; put it in quotes",
    "directive name": "a value cannot begin with '%'; put it in quotes",
    "nesting depth": f"nested deeper than {MAX_DEPTH} levels",  # PyYAML 6.0.4 stops at a thousand by itself
    "Unicode character escape": "half a character after '\\u'; write the character itself",
    "escape": "an unknown escape after '\\'; use single quotes, or write '\\\\'",
}


def parse(text: str, where: Callable[[int], str]) -> tuple[Node | None, list[Problem]]:
    """Read one YAML document; ``where`` names a line. None: it is empty. SpecError if the rest cannot be read."""
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise SpecError([Problem(where(line), "", f"contains the control character U+{ord(found[0]):04X}; delete it")])
    builder = _Builder(text, where)
    try:
        return builder.document(yaml.parse(text, Loader=_LOADER)), builder.problems
    except yaml.MarkedYAMLError as error:
        raise SpecError([*builder.problems, _syntax(error, text, where)]) from None
    except yaml.YAMLError as error:
        raise SpecError([*builder.problems, Problem(where(1), "", f"is not YAML: {error}")]) from None


def root_of(text: str) -> TextNode | None:
    """Return the document as it is written; None if there is none, or the text is not YAML."""
    try:
        root, _ = parse(text, str)
    except SpecError:
        return None
    return root.text if root else None


def resolve(text: str) -> Any:
    """Return the value of an unquoted word."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) < 4000:  # Python itself refuses to read longer ones
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) and not _INTEGER.fullmatch(text) else text


def _syntax(error: yaml.MarkedYAMLError, text: str, where: Callable[[int], str]) -> Problem:
    words = error.problem or "it cannot be read"
    sentence = next((sentence for part, sentence in _SENTENCES.items() if part in words), f"this is not YAML: {words}")
    # The place to fix what is not closed is where it was opened.
    opened = "begins here" in sentence and error.context_mark is not None
    mark = error.context_mark if opened else error.problem_mark
    if mark is None:
        return Problem(where(1), "", sentence)
    if "cannot start any token" in words:
        line = "".join(text.splitlines()[mark.line : mark.line + 1])
        sentence = _bad_start(line[mark.column :][:1])
    return Problem(where(mark.line + 1), "", f"column {mark.column + 1}: {sentence}")


def _bad_start(character: str) -> str:
    if character == "\t":
        return "a tab; YAML is indented with spaces"
    return f"a value cannot begin with {character!r}; put it in quotes"


def _text_node(event: Any, kind: type, end: int, **more: Any) -> TextNode:
    mark = event.start_mark
    return TextNode(kind, mark.index, end, mark.line, mark.column, **more)


def _end(event: Any) -> int:
    return int(event.end_mark.index)


class _Builder:
    """Nodes from the parser's events, which never recurse: depth and size are bounded here."""

    def __init__(self, text: str, where: Callable[[int], str]) -> None:
        self.problems: list[Problem] = []
        self._text = text
        self._where = where
        self._count = 0
        self._anchors: dict[str, Node | None] = {}  # None: still being built
        self._closed = 0  # where the last collection ends

    def document(self, events: Iterator[Any]) -> Node | None:
        self._events = events
        root: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, (), "a second document begins here; a cluster file holds one, so delete '---'")
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, ())
        return None if root is None or (root.value is None and documents == 1) else root

    def _refuse(self, event: Any, path: KeyPath, message: str) -> NoReturn:
        """Stop reading: what follows would only repeat this problem, or be too large."""
        raise SpecError([*self.problems, self._problem(event, path, message)])

    def _problem(self, event: Any, path: KeyPath, message: str) -> Problem:
        return Problem(self._line(event), dotted(path), message)

    def _line(self, event: Any) -> str:
        return self._where(event.start_mark.line + 1)

    def _node(self, event: Any, path: KeyPath) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if len(path) > MAX_DEPTH:
            self._refuse(event, path[:2], f"is nested deeper than {MAX_DEPTH} levels")
        before = self._count
        self._grow(1, event, path)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._check_tag(event, path)
        build = self._scalar if isinstance(event, yaml.ScalarEvent) else self._collection
        value, text = build(event, path)
        typed = event.value if isinstance(event, yaml.ScalarEvent) else None
        node = Node(value, self._line(event), self._count - before, typed, text)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _grow(self, size: int, event: Any, path: KeyPath) -> None:
        self._count += size
        if self._count > MAX_NODES:
            self._refuse(event, path, f"the file expands to more than {MAX_NODES:,} values here")

    def _alias(self, event: Any, path: KeyPath) -> Node:
        if event.anchor not in self._anchors:
            self._refuse(event, path, f"*{event.anchor} has no &{event.anchor} above it")
        node = self._anchors[event.anchor]
        if node is None:
            self._refuse(event, path, f"*{event.anchor} is inside &{event.anchor} itself, so it would never end")
        self._grow(node.size, event, path)
        assert node.text is not None  # what the parser builds has a text
        text = _text_node(event, node.text.kind, _end(event), value=f"*{event.anchor}", is_alias=True)
        return replace(node, where=self._line(event), text=text)

    def _check_tag(self, event: Any, path: KeyPath) -> None:
        if event.tag not in _PLAIN_TAGS:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self.problems.append(self._problem(event, path, f"the tag {tag} is not supported; write the plain value"))

    def _scalar(self, event: Any, path: KeyPath) -> tuple[Any, TextNode]:
        if "\0" in event.value:  # no path and no variable can hold it
            self.problems.append(self._problem(event, path, "contains a NUL character; leave it out"))
        text = event.tag in _PLAIN_TAGS and not event.implicit[0]  # quoted, or tagged !!str
        value = event.value if text or event.tag == "!" else resolve(event.value)
        block = event.style in ("|", ">")
        end = self._end_of_block(event) if block else _end(event)
        return value, _text_node(event, str, end, value=event.value, is_block=block)

    def _end_of_block(self, event: Any) -> int:
        start, end = int(event.start_mark.index), _end(event)
        inside = self._text[start:end]
        return end if _KEEPS.search(inside.partition("\n")[0]) else start + len(inside.rstrip())

    def _collection(self, event: Any, path: KeyPath) -> tuple[Any, TextNode]:
        is_list, block = isinstance(event, yaml.SequenceStartEvent), not event.flow_style
        value, pairs = self._sequence(path) if is_list else self._mapping(path)
        items = tuple((own.text, node.text) for own, node in pairs if own.text and node.text)
        end = max(part.end for part in items[-1]) if items and block else self._closed
        return value, _text_node(event, list if is_list else dict, end, is_block=block, items=items)

    def _events_inside(self) -> Iterator[Any]:
        """Yield the first event of each key or item of the collection whose start was the last event."""
        while not isinstance(event := next(self._events), yaml.CollectionEndEvent):
            yield event
        self._closed = _end(event)

    def _sequence(self, path: KeyPath) -> tuple[list[Node], list[tuple[Node, Node]]]:
        items: list[Node] = []
        for event in self._events_inside():
            items.append(self._node(event, (*path, len(items))))
        return items, [(item, item) for item in items]

    def _mapping(self, path: KeyPath) -> tuple[dict[str, Node], list[tuple[Node, Node]]]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        pairs: list[tuple[Node, Node]] = []
        for event in self._events_inside():
            name, key = self._key(event, path)
            child = self._node(next(self._events), (*path, key))
            pairs.append((name, child))
            if key == "<<" and getattr(event, "implicit", (False,))[0]:
                merged = self._merge(child, event, path) | merged
            elif key in own:
                message = f"is written twice, first at {own[key].where}; keep one of them"
                self.problems.append(self._problem(event, (*path, key), message))
            else:
                own[key] = replace(child, where=self._line(event))
        return merged | own, pairs

    def _key(self, event: Any, path: KeyPath) -> tuple[Node, str]:
        node = self._node(event, (*path, "?"))
        if isinstance(event, yaml.ScalarEvent) and event.value:
            return node, str(event.value)  # as it is written: on, 1 and 0.50 are names here
        if not isinstance(node.value, str) or not node.value:
            self._refuse(event, path, "a key is a word before a ':'")
        return node, node.value

    def _merge(self, node: Node, event: Any, path: KeyPath) -> dict[str, Node]:
        merged: dict[str, Node] = {}
        for source in node.value if isinstance(node.value, list) else [node]:
            if isinstance(source.value, dict):
                merged = source.value | merged
            else:
                self.problems.append(self._problem(event, (*path, "<<"), "merges mappings only, like <<: *name"))
        return merged
