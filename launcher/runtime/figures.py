"""Figures: what a job's methods return, turned into Python's own numbers, texts, lists and mappings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

from launcher.errors import LauncherError


def by_name(figures: Any, method: str) -> Mapping[str, Any]:
    """Return what a job's method has returned, none for None; LauncherError if it is not a mapping of names."""
    if figures is None:
        return {}
    if not isinstance(figures, Mapping):
        raise LauncherError(
            f"the job's {method}() returns {type(figures).__name__}: it must return its figures by name, like "
            "{'cost': cost}"
        )
    return figures


def as_python(value: Any, name: str = "") -> Any:
    """Return tensors, variables and arrays as Python's own values; LauncherError names what JSON could not hold."""
    value = value.numpy() if hasattr(value, "numpy") else value
    value = value.tolist() if hasattr(value, "tolist") else value
    match value:
        case Mapping():
            return {str(key): as_python(item, f"{name}.{key}" if name else str(key)) for key, item in value.items()}
        case list() | tuple():
            return [as_python(item, f"{name}[{index}]") for index, item in enumerate(value)]
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return value.decode(errors="backslashreplace")
        case Real():  # a fraction, or a float longer than Python's
            return float(value)
    raise LauncherError(
        f"the job returns the figure {name} of type {type(value).__name__}: a figure is a number, a text, a tensor or "
        "an array of them, or a list or mapping of figures"
    )


def plain(value: Any) -> Any:
    """Return figures as JSON has them: None for a number that is not finite."""
    return _finite(as_python(value))


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield every float among figures with its name, like ``losses.total`` or ``weights[2]``."""
    value = as_python(value, name)
    if isinstance(value, dict):
        for key, item in value.items():
            yield from numbers(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from numbers(item, f"{name}[{index}]")
    elif isinstance(value, float):
        yield name, value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    # JSON knows no NaN and no infinity.
    return None if isinstance(value, float) and not math.isfinite(value) else value
