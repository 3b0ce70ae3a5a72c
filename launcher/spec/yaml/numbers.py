"""Numbers of a cluster file that are none to a computer: 1e400 would be read as infinite, and 1e-400 as nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from launcher.contract.faults import Fault, KeyPath
from launcher.spec.plain import children
from launcher.spec.yaml.nodes import Node

_SHOWN = 40  # characters
_DIGITS = re.compile(r"[0-9.]*[1-9]")  # of which one is not zero, before any exponent


def out_of_range(node: Node, path: KeyPath = ()) -> Iterator[Fault]:
    """Yield each number that was written and that no float holds."""
    for key, child in children(node.value).items():
        yield from out_of_range(child, (*path, int(key) if isinstance(node.value, list) else key))
    if isinstance(node.value, float) and node.typed and not _is_held(node.value, node.typed.lstrip("+-")):
        written = node.typed[:_SHOWN]
        yield Fault(
            path, f"{written} is out of range: a number is at most 1.8e308 and at least 4.9e-324; put text in quotes"
        )


def _is_held(value: float, typed: str) -> bool:
    if value == 0:
        return not _DIGITS.match(typed)
    return not math.isinf(value) or typed.lower() == ".inf"
