"""The examples of a property test: the same in every run; with SEARCH=N in the environment N times as many, random."""

from __future__ import annotations

import os

from hypothesis import settings

_SEARCH = int(os.environ.get("SEARCH", "0"))


def examples(number: int) -> settings:
    """Try that many examples; what fails then fails in every run and everywhere, unless SEARCH asks for random ones."""
    return settings(max_examples=number * (_SEARCH or 1), derandomize=not _SEARCH, deadline=None, database=None)
