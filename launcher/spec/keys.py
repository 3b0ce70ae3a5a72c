"""The keys of a cluster file: their names, their defaults, and where each value of a file comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from launcher.contract.task import JOBS
from launcher.spec.file import ClusterFile, Engines
from launcher.spec.model import Cluster, ClusterSpec, JobSpec
from launcher.spec.plain import find, holds

_SHORT_ITEM = re.compile(r"^(cluster\.\w+)\.(\d+)$")  # of a job whose short form is a list of addresses


class Value(NamedTuple):
    """One value of a cluster file, and where it comes from: a line, ``--set …``, or ``default``."""

    value: Any
    origin: str


def known_keys(engines: Engines | None = None) -> list[str]:
    """Return every dotted key that a file may have, with the engines' sections, but what a job's ``args`` bring."""
    sections = [(name, model) for name, model in (engines or {}).items() if model]
    return [*_keys(ClusterSpec), *(key for name, model in sections for key in (name, *_keys(model, f"{name}.")))]


def is_key(key: str, engines: Engines | None = None) -> bool:
    """Whether a file may have a value at that dotted key."""
    parts = key.split(".")
    own = {name: engines[name] for name in parts[:1] if name in engines} if engines else {}  # the others stay unloaded
    known = known_keys(own)
    if not all(parts):
        return False
    free = parts[0] == "args" or (".".join(parts[:-1]) in known and parts[-2] == "env")
    return key in known or free or (parts[-1].isdecimal() and _is_list(parts[:-1]))


def values_at(found: Mapping[str, Value], key: str) -> dict[str, Any]:
    """Return the value of a dotted key under "", or the values inside it, under the rest of their keys."""
    key = _SHORT_ITEM.sub(r"\1.addresses.\2", key)
    inside = {name[len(key) + 1 :]: one.value for name, one in found.items() if f"{name}.".startswith(f"{key}.")}
    for name, one in found.items():
        rest = key.removeprefix(f"{name}.").split(".")
        if not inside and key.startswith(f"{name}.") and holds(one.value, rest):
            return {"": find(one.value, rest)}
    return inside


def values(file: ClusterFile, engines: Engines | None = None) -> dict[str, Value]:
    """Return all values of a file by dotted key, in the order of the models, defaults included.

    ``engines`` are those whose sections' defaults count.
    """
    found: dict[str, Value] = {}
    defaults = _defaults(ClusterSpec, file.data)
    for name, model in (engines or {}).items():
        defaults |= _defaults(model, file.data.get(name), f"{name}.") if model else {}
    for key, default in defaults.items():
        found[key] = Value(default, "default")
    for key, value in _leaves(file.expanded()):
        found[key] = Value(value, file.locate(key))
    order = {key: place for place, key in enumerate(known_keys(engines))}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], order.get(item[0].split(".")[0], 0))))


def written_duration(seconds: float) -> str:
    """Return seconds as a file has them: ``60s``, ``5m``."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= 2 * size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _is_list(parts: Sequence[str]) -> bool:
    """Whether the key is that of a list, of addresses or of GPUs."""
    if len(parts) < 2 or parts[0] != "cluster" or parts[1] not in JOBS:
        return False
    return parts[2:] in ([], ["addresses"], ["gpus"])


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        if inner := _model(field):
            yield from _keys(inner, f"{prefix}{name}.")


def _model(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a field, if it has one."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _defaults(model: type[BaseModel], data: Any, prefix: str = "") -> dict[str, Any]:
    """Return the defaults of what is not written; those of a job only if the job is written."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        inner, written = _model(field), isinstance(data, Mapping) and name in data
        if inner and (written or model is not Cluster):
            found |= _defaults(inner, data[name] if written else None, f"{prefix}{name}.")
        elif not inner and not written and not field.is_required():
            default = field.get_default(call_default_factory=True)
            if default not in (None, {}, ()):
                found[prefix + name] = written_duration(default) if isinstance(default, float) else default
    if model is JobSpec and not isinstance(data, Mapping):
        found.pop(f"{prefix}tasks")
    return found


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
