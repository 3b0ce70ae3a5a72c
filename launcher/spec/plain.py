"""Plain data by dotted keys; an item of a list has its index as key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Keys = Sequence[str]


def children(data: Any) -> dict[str, Any]:
    """Return the values inside a mapping or a list, by key; empty for anything else."""
    if isinstance(data, list):
        return {str(index): item for index, item in enumerate(data)}
    return data if isinstance(data, dict) else {}


def find(data: Any, keys: Keys) -> Any:
    """Return what plain data has at the keys; None if it has nothing there."""
    for key in keys:
        data = children(data).get(key)
    return data


def holds(data: Any, keys: Keys) -> bool:
    """Whether plain data has those keys."""
    return keys[-1] in children(find(data, keys[:-1]))


def without(data: Any, keys: Keys) -> Any:
    """Return the data without what is at the keys."""
    kept = [(key, item) for key, item in children(data).items() if key != keys[0] or len(keys) > 1]
    kept = [(key, without(item, keys[1:]) if key == keys[0] else item) for key, item in kept]
    return [item for _, item in kept] if isinstance(data, list) else dict(kept)
