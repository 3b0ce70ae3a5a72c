"""Edits of a cluster file's text: one value replaced, one key added or removed, every other byte as it was.

Not a round trip through a YAML library: ruamel.yaml closes up the columns of ``ps:     {tasks: 1}``, and hangs a
comment on the key before it, so that it moves or goes with that key. Here the parser only gives the place of a value;
the text between is cut and pasted, and what comes out is read again and compared with what was meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from launcher.errors import SpecError, UsageError, did_you_mean
from launcher.spec.edit.splice import add_item, cut, put, replaced
from launcher.spec.overrides import set_node
from launcher.spec.plain import Keys, children, find, holds, without
from launcher.spec.yaml.nodes import Node, to_node
from launcher.spec.yaml.parser import parse, root_of
from launcher.spec.yaml.writer import in_one_line


def set_key(text: str, keys: Keys, written: str) -> str:
    """Return the text with the value of a dotted key set, which may not be there yet; the value is YAML."""
    data, meant = plain_data(text), _plain_value(written, keys)
    # What was typed is not valid everywhere: a comment or | inside {}, for example.
    spellings = (written.strip(), in_one_line(meant))
    attempts = (put(apart, keys, spelled) for spelled in spellings for apart in _aliases_apart(text, keys, data))
    return _first_valid(attempts, _with(text, keys, meant), keys)


def unset_key(text: str, keys: Keys) -> str:
    """Return the text without a dotted key, nor the mappings that it leaves empty; UsageError if it is not there."""
    data = plain_data(text)
    if not holds(data, keys):
        raise _not_set(data, keys)
    while len(keys) > 1 and len(find(data, keys[:-1])) == 1:
        keys = keys[:-1]
    attempts = (cut(apart, keys) for apart in _aliases_apart(text, keys, data))
    return _first_valid(attempts, without(data, keys), keys)


def append(text: str, keys: Keys, values: Sequence[str]) -> str:
    """Return the text with values, each of them text, added to the end of a list."""
    for value in values:
        data = plain_data(text)
        meant = _with(text, keys, [*(find(data, keys) or []), value])
        attempts = (add_item(apart, keys, in_one_line(value)) for apart in _aliases_apart(text, keys, data))
        text = _first_valid(attempts, meant, keys)
    return text


def value(text: str, keys: Keys) -> Any:
    """Return the plain value of a dotted key as the text has it; None if it has none."""
    return find(plain_data(text), keys)


def is_written(text: str, keys: Keys) -> bool:
    """Whether the text has that key."""
    return holds(plain_data(text), keys)


# What an edit means


def plain_data(text: str) -> Any:
    """Return the data of a text; SpecError if it is not YAML."""
    return _root(text).plain()


def _root(text: str) -> Node:
    return _parsed(text, lambda line: f"line {line}") or Node({}, "")


def _plain_value(written: str, keys: Keys) -> Any:
    node = _parsed(written, lambda _: f"{'.'.join(keys)}={written}")
    return node.plain() if node else None


def _parsed(text: str, where: Callable[[int], str]) -> Node | None:
    root, problems = parse(text, where)
    if problems:
        raise SpecError(problems)
    return root


def _not_set(data: Any, keys: Keys) -> UsageError:
    key = ".".join(keys)
    if keys[0] != "args" and "env" not in keys:
        return UsageError(f"{key} is not set in the file, so it has its default already")
    return UsageError(f"{key} is not set in the file{did_you_mean(keys[-1], children(find(data, keys[:-1])))}")


def _with(text: str, keys: Keys, value: Any) -> Any:
    """Return the plain data of the text with a value set; SpecError if it cannot be."""
    return set_node(_root(text), keys, to_node(value)).plain()


# What comes out


def _aliases_apart(text: str, keys: Keys, data: Any) -> Iterator[str]:
    """Yield the text as it is, then with an alias on the way to the keys replaced: by a merge, or by its value."""
    yield text
    node = root_of(text)
    for depth, key in enumerate(keys, 1):
        found = node.find(key) if node else None
        if found is None:
            return
        node = found[1]
        if node.is_alias:
            if node.kind is dict:
                yield replaced(text, node, f"{{<<: {node.value}}}")
            yield replaced(text, node, in_one_line(find(data, keys[:depth])))
            return


def _first_valid(attempts: Iterable[str], meant: Any, keys: Keys) -> str:
    """Return the first text whose data is what was meant; UsageError if there is none."""
    for text in attempts:
        if means(text, meant):
            return text
    raise UsageError(
        f"{'.'.join(keys)} cannot be changed by itself: it shares its text with other keys (an anchor, an alias or "
        "<<), or is written in an unusual way; edit the file by hand"
    )


def means(text: str, meant: Any) -> bool:
    """Whether the data of a text is what was meant."""
    try:
        # As JSON: 1 is not true there, and nan is nan.
        return json.dumps(plain_data(text), sort_keys=True) == json.dumps(meant, sort_keys=True)
    except SpecError:
        return False
