"""Edits of a cluster file's text: one value replaced, one key added or removed, every other byte as it was.

Not a round trip through a YAML library: ruamel.yaml closes up the columns of ``ps:     {tasks: 1}``, and hangs a
comment on the key before it, so that it moves or goes with that key. Here the parser only says where a value stands;
the text between is cut and pasted, and what comes out is read again and compared with what was meant.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from launcher.cluster.overrides import JOBS
from launcher.cluster.yaml_source import parse
from launcher.errors import SpecError, UsageError

Keys = Sequence[str]
_SHORT = {yaml.ScalarNode: "tasks", yaml.SequenceNode: "addresses"}  # the key that a job's short form stands for
_SEPARATES = set(",[]{}")  # inside [] and {}


def set_key(text: str, keys: Keys, written: str) -> str:
    """Return the text with the value of a dotted key set, which may not be there yet; the value is YAML."""
    meant = _with(_plain(text), keys, _plain_value(written))
    return _checked(_put(text, keys, written), meant, keys)


def unset_key(text: str, keys: Keys) -> str:
    """Return the text without a dotted key, nor the mappings that it leaves empty; UsageError where it is not there."""
    data = _plain(text)
    if _found(data, keys) is None:
        raise UsageError(f"{'.'.join(keys)} is not written in the file, so it has its default already")
    while len(keys) > 1 and len(_found(data, keys[:-1]) or ()) == 1:
        keys = keys[:-1]
    return _checked(_cut(text, keys), _without(data, keys), keys)


def append(text: str, keys: Keys, values: Sequence[str]) -> str:
    """Return the text with values added to the end of a list."""
    meant = [*(_found(_plain(text), keys) or []), *map(_plain_value, values)]
    for value in values:
        text = _append(text, keys, value)
    return _checked(text, _with(_plain(text), keys, meant), keys)


def value(text: str, keys: Keys) -> Any:
    """Return the plain value of a dotted key as the text has it; None where it has none."""
    return _found(_plain(text), keys)


# Plain data: what an edit means


def _plain(text: str) -> Any:
    root, problems = parse(text, lambda line: f"line {line}")
    if problems:
        raise SpecError(problems)
    return root.plain() if root else {}


def _plain_value(value: str) -> Any:
    node, problems = parse(value, lambda _: value)
    if problems:
        raise SpecError(problems)
    return node.plain() if node else None


def _found(data: Any, keys: Keys) -> Any:
    for key in keys:
        if isinstance(data, list) and key.isdecimal() and int(key) < len(data):
            data = data[int(key)]
        elif isinstance(data, dict) and key in data:
            data = data[key]
        else:
            return None
    return data


def _with(data: Any, keys: Keys, value: Any, depth: int = 0) -> Any:
    if depth == len(keys):
        return value
    key = keys[depth]
    if isinstance(data, list) and not _is_job(keys, depth):
        return [_with(item, keys, value, depth + 1) if str(i) == key else item for i, item in enumerate(data)]
    if not isinstance(data, dict) and data is not None:
        if not _is_job(keys, depth):
            raise UsageError(f"{'.'.join(keys[:depth])} is no mapping; {key!r} cannot be set inside it")
        data = {"addresses" if isinstance(data, list) else "tasks": data}
    data = data or {}
    return data | {key: _with(data.get(key), keys, value, depth + 1)}


def _without(data: Any, keys: Keys) -> Any:
    if isinstance(data, list):
        index = int(keys[0])
        rest = [] if len(keys) == 1 else [_without(data[index], keys[1:])]
        return [*data[:index], *rest, *data[index + 1 :]]
    if len(keys) == 1:
        return {key: value for key, value in data.items() if key != keys[0]}
    return data | {keys[0]: _without(data[keys[0]], keys[1:])}


def _is_job(keys: Keys, depth: int) -> bool:
    """Whether the key so deep is a job of the cluster, which has short forms."""
    return depth == 2 and keys[0] == "cluster" and keys[1] in JOBS


def _checked(text: str, meant: Any, keys: Keys) -> str:
    """Return the text where it says what was meant; else it cannot be edited so."""
    try:
        right = _plain(text) == meant
    except SpecError:
        right = False
    if not right:
        key = ".".join(keys)
        raise UsageError(
            f"{key} cannot be changed by itself: it shares its text with other keys (an anchor, an alias or <<), or "
            "is written in an unusual way; edit the file by hand"
        )
    return text


# Text: how an edit is made


def _root(text: str) -> Any:
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _child(node: Any, key: str) -> tuple[Any, Any] | None:
    """Return the key's node and the value's, of a mapping or a list."""
    if isinstance(node, yaml.MappingNode):
        return next(((own, value) for own, value in node.value if own.value == key), None)
    if isinstance(node, yaml.SequenceNode) and key.isdecimal() and int(key) < len(node.value):
        return node.value[int(key)], node.value[int(key)]
    return None


def _put(text: str, keys: Keys, value: str) -> str:
    node = _root(text)
    for depth, key in enumerate(keys):
        if type(node) in _SHORT and _is_job(keys, depth) and not _is_empty(node):
            return _put(_spelled_out(text, node), keys, value)
        found = _child(node, key)
        if found is None:
            return _insert(text, node, keys[depth:], value)
        own, node = found
        if _is_empty(node) and depth < len(keys) - 1:
            rest = _nested(keys[depth + 1 :], value)
            return _splice(text, own.end_mark.index + 1, own.end_mark.index + 1, f" {{{rest}}}")
    flow = _in_flow(text, keys)
    written = _written(value, flow=flow)
    if own is not node and (_is_empty(node) or not _is_inline(own, node)):
        colon = text.index(":", own.end_mark.index) + 1
        behind = text[colon : _end_of_line(text, colon)].rstrip()  # a comment, where there is anything
        end = _end_of_line(text, max(colon, _end(node)))
        return _splice(text, colon, end, f" {written}{behind}" if written else behind)
    return _replace(text, node.start_mark.index, _end(node), written)


def _spelled_out(text: str, node: Any) -> str:
    """Return the text with a job's short form (``2``, a list of addresses) written as a mapping."""
    key, start, end = _SHORT[type(node)], node.start_mark.index, _end(node)
    if isinstance(node, yaml.ScalarNode) or node.flow_style:
        return _splice(text, start, end, f"{{{key}: {text[start:end]}}}")
    return _splice(text, start, start, f"{key}:\n{' ' * node.start_mark.column}")


def _insert(text: str, node: Any, keys: Keys, value: str) -> str:
    """Write a new key at the end of a mapping."""
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{keys[0]!r} cannot be set inside what is no mapping")
    if node.flow_style:
        new = _nested(keys, value)
        if not node.value:
            return _splice(text, node.start_mark.index + 1, node.start_mark.index + 1, new)
        end = _end(node.value[-1][1])
        return _splice(text, end, end, f", {new}")
    new = f"{keys[0]}: {_written(value) if len(keys) == 1 else '{' + _nested(keys[1:], value) + '}'}"
    return _new_line(text, _end_of_line(text, _end(node)), " " * node.start_mark.column + new)


def _nested(keys: Keys, value: str) -> str:
    inner = _written(value, flow=True)
    for key in reversed(keys[1:]):
        inner = f"{{{key}: {inner}}}"
    return f"{keys[0]}: {inner}"


def _append(text: str, keys: Keys, value: str) -> str:
    node = _root(text)
    for key in keys:
        found = _child(node, key)
        if found is None:
            return _put(text, keys, f"[{value}]")
        node = found[1]
    if not node.value:
        return _splice(text, node.start_mark.index, _end(node), f"[{value}]")
    if node.flow_style:
        end = _end(node.value[-1])
        return _splice(text, end, end, f", {_written(value, flow=True)}")
    return _new_line(text, _end_of_line(text, _end(node)), f"{' ' * node.start_mark.column}- {_written(value)}")


def _cut(text: str, keys: Keys) -> str:
    parent = _root(text)
    for key in keys[:-1]:
        parent = (_child(parent, key) or (None, None))[1]
    found = _child(parent, keys[-1])
    if found is None:  # it came from << or an alias
        return text
    own, value = found
    if not parent.flow_style:
        return _splice(text, _start_of_line(text, own.start_mark.index), _end_of_line(text, _end(value)) + 1, "")
    items = [item if isinstance(item, tuple) else (item, item) for item in parent.value]
    place = next(i for i, (first, _) in enumerate(items) if first is own)
    if place + 1 < len(items):
        return _splice(text, own.start_mark.index, items[place + 1][0].start_mark.index, "")
    start = _end(items[place - 1][1]) if place else own.start_mark.index
    return _splice(text, start, _end(value), "")


def _written(value: str, *, flow: bool = False) -> str:
    """Return the value as it can stand behind a key, or inside [] and {}."""
    plain = _plain_value(value)
    if isinstance(plain, dict | list) and not value.lstrip().startswith(("[", "{")):
        return str(yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=1 << 16)).strip()
    if flow and isinstance(plain, str) and _SEPARATES & set(value) and not value.lstrip().startswith(("'", '"')):
        return json.dumps(plain, ensure_ascii=False)
    return value.strip()


def _in_flow(text: str, keys: Keys) -> bool:
    node = _root(text)
    for key in keys[:-1]:
        node = (_child(node, key) or (None, None))[1]
    return bool(node is not None and node.flow_style)


def _is_empty(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.start_mark.index == node.end_mark.index


def _is_inline(own: Any, node: Any) -> bool:
    """Whether a value begins in the line of its key."""
    return bool(own.start_mark.line == node.start_mark.line)


def _end(node: Any) -> int:
    """Return where the content of a node ends, without the blanks and comments that its mark goes over."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return max(_end(part) for part in last) if isinstance(last, tuple) else _end(last)
    return int(node.end_mark.index)


def _start_of_line(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _end_of_line(text: str, index: int) -> int:
    """Return the end of the line at which a value ends; that of a block scalar (| or >) is behind its line already."""
    if text[index - 1 : index] == "\n":
        return index - 1
    end = text.find("\n", index)
    return len(text) if end < 0 else end


def _new_line(text: str, end: int, line: str) -> str:
    return f"{text[:end]}\n{line}{text[end:]}"


def _replace(text: str, start: int, end: int, new: str) -> str:
    """Replace a value; a comment behind it stays in its column, where there is room."""
    rest = text[end:]
    blanks = len(rest) - len(rest.lstrip(" "))
    if rest[blanks : blanks + 1] == "#":
        rest = " " * max(1, blanks + (end - start) - len(new)) + rest[blanks:]
    return text[:start] + new + rest


def _splice(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]
