"""Turns pydantic's errors into sentences: what was found, what is allowed, and the nearest right word."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from launcher.errors import did_you_mean, listing

if TYPE_CHECKING:
    from pydantic import ValidationError

KeyPath = tuple[str | int, ...]
_QUOTED = re.compile("'([^']*)'")
_LONGEST = 60  # characters of a value that a sentence shows

# What was expected if pydantic found another type.
_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "path_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "dataclass_exact_type": "a mapping",
    "none_required": "nothing",
}
# The limit that a number or a length is beyond, with its name in pydantic's context.
_LIMITS = {
    "greater_than": ("must be more than {gt}", "gt"),
    "greater_than_equal": ("must be at least {ge}", "ge"),
    "less_than": ("must be less than {lt}", "lt"),
    "less_than_equal": ("must be at most {le}", "le"),
    "multiple_of": ("must be a multiple of {multiple_of}", "multiple_of"),
    "too_short": ("must have at least {min_length} items", "min_length"),
    "too_long": ("must have at most {max_length} items", "max_length"),
    "string_too_long": ("must have at most {max_length} characters", "max_length"),
    "string_pattern_mismatch": ("must match {pattern}", "pattern"),
}


@dataclass(frozen=True)
class Fault:
    """One problem with plain data, and the keys that lead to it."""

    path: KeyPath
    message: str
    # Keys that this fault was derived from: if one of them is wrong itself, this fault is not shown.
    relies_on: tuple[KeyPath, ...] = ()


def dotted(path: KeyPath) -> str:
    """Return the key as --set writes it: ``cluster.worker.tasks``."""
    return ".".join(str(part) for part in path)


def type_name(value: object) -> str:
    """Return the type of a value in a YAML file, in a user's words."""
    names: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "a boolean"), (int, "a whole number"), (float, "a number"), (str, "text"), (Mapping, "a mapping"),
        ((list, tuple), "a list"),
    ]  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), "nothing")


def show(value: object) -> str:
    """Return the value, shortened, with its type named: ``"two" (text)``."""
    if value is None:
        return "empty"
    if value in ({}, []):
        return f"an empty {type_name(value)[2:]}"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number too long to print"
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"{text} ({type_name(value)})"


def faults(error: ValidationError, data: object, model: type) -> list[Fault]:
    """Return pydantic's errors as sentences, in the order of the data's keys as far as pydantic keeps it."""
    expected: dict[KeyPath, list[str]] = {}
    others: dict[KeyPath, list[str]] = {}
    for detail in error.errors(include_url=False):
        path = _in_data(detail["loc"], data, detail["type"])
        if kind := _expected(detail):
            expected.setdefault(path, []).append(kind)
        else:  # a job's Config may say several things at once, a line each
            others.setdefault(path, []).extend(_sentence(detail, path, model).splitlines())
    return [Fault(path, message) for path, messages in others.items() for message in dict.fromkeys(messages)] + [
        Fault(path, _wrong(list(dict.fromkeys(kinds)), _at(data, path)))
        for path, kinds in expected.items()
        # A union reports an error for each of its members: if one member got deeper, it is the one that was meant.
        if not any(other[: len(path)] == path for other in [*others, *expected] if len(other) > len(path))
    ]


def _wrong(expected: list[str], value: object) -> str:
    words = [word for kind in expected for word in _QUOTED.findall(kind)]
    hint = did_you_mean(value, words) if isinstance(value, str) else ""
    return f"must be {' or '.join(expected)}, not {show(value)}{hint}"


def _in_data(location: tuple[int | str, ...], data: object, kind: str) -> KeyPath:
    # pydantic's locations also name members of unions and validators, which no user wrote: keep only the data's keys.
    path: KeyPath = ()
    for position, part in enumerate(location):
        absent = kind in ("missing", "missing_argument") and position == len(location) - 1
        if absent or _has(data, part):
            path, data = (*path, part), None if absent else _child(data, part)
    return path


def _has(data: object, part: str | int) -> bool:
    if isinstance(data, Mapping):
        return part in data
    return isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)


def _child(data: Any, part: str | int) -> object:
    return data[part]


def _at(data: object, path: KeyPath) -> object:
    for part in path:
        data = _child(data, part) if _has(data, part) else None
    return data


def _expected(detail: Mapping[str, Any]) -> str | None:
    if detail["type"] in ("literal_error", "enum"):
        return str(detail["ctx"]["expected"])
    return _EXPECTED.get(detail["type"])


def _sentence(detail: Mapping[str, Any], path: KeyPath, model: type) -> str:
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return unknown_key(path, model)
    if kind in ("missing", "missing_argument"):
        return _missing(path, model)
    if kind in ("value_error", "assertion_error"):
        return str(context["error"]) or "is not allowed"
    if kind == "string_too_short":
        return "must not be empty"
    if kind in _LIMITS:
        return _LIMITS[kind][0].format(**context) + f", not {show(value)}"
    message: str = detail["msg"]
    return f"{message[:1].lower()}{message[1:]}, not {show(value)}"


def unknown_key(path: KeyPath, model: type) -> str:
    """Return the sentence for an unknown key, with the nearest right one, and all that are allowed."""
    key, known = str(path[-1]), _keys(_types_at(model, path[:-1]))
    hint = did_you_mean(key, known)
    if not hint and (homes := [name for name in known if key in _keys(_types_at(model, (*path[:-1], name)))]):
        hint = f"; did you mean '{dotted((*path[:-1], homes[0], key))}'?"
    return f"unknown key{listing(hint, known, 'allowed')}"


def _missing(path: KeyPath, model: type) -> str:
    for owner in _types_at(model, path[:-1]):
        field = getattr(owner, "model_fields", {}).get(path[-1])
        if field is not None and field.description:
            return f"is missing: {field.description}"
    return "is missing, and has no default"


def _types_at(model: Any, path: KeyPath) -> list[Any]:
    kinds = list(_members(model))
    for part in path:
        kinds = [inner for kind in kinds for child in _inside(kind, part) for inner in _members(child)]
    return kinds


def _members(kind: Any) -> Iterator[Any]:
    # The types inside Annotated[X, ...] and X | Y.
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        yield from _members(typing.get_args(kind)[0])
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(kind):
            yield from _members(member)
    else:
        yield kind


def _inside(kind: Any, part: str | int) -> Iterator[Any]:
    if part in _keys([kind]):
        fields_of = getattr(kind, "model_fields", None)
        yield fields_of[part].annotation if fields_of else typing.get_type_hints(kind)[str(part)]
    elif arguments := [argument for argument in typing.get_args(kind) if argument is not ...]:
        yield arguments[-1]  # Mapping[str, X], list[X] and tuple[X, ...]


def _keys(kinds: list[Any]) -> list[str]:
    names: list[str] = []
    for kind in kinds:
        if hasattr(kind, "model_fields"):
            names += kind.model_fields
        elif is_dataclass(kind):
            names += [field.name for field in fields(kind) if field.init]
    return names
