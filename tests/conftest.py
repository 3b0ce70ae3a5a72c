"""What all tests share: a property test tries the same examples in every run, whichever tests run with it."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from tests.examples import examples

settings.register_profile("launcher", examples(100))
settings.load_profile("launcher")
# Hypothesis also tries the numbers and words that it finds in the code that is imported when a test begins, so the
# tests before a test would decide what that test tries.
pytest.MonkeyPatch().setattr(providers, "is_local_module_file", lambda _: False)
