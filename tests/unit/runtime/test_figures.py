"""What a job's methods may return, and what becomes of it."""

from __future__ import annotations

import json
from datetime import date
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from launcher.errors import LauncherError
from launcher.runtime.figures import by_name, numbers, plain

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (tf.constant(0.5), 0.5),
        (tf.constant([1.0, 2.0]), [1.0, 2.0]),
        (tf.constant("text"), "text"),
        (tf.constant([b"a", b"\xff"]), ["a", r"\xff"]),
        (tf.ragged.constant([[1.0], [2.0, 3.0]]), [[1.0], [2.0, 3.0]]),
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
        (Fraction(1, 2), 0.5),
        (2**80, 2**80),
        (3, 3),
        ("text", "text"),
        (None, None),
        ((tf.constant(1.0), 2), [1.0, 2]),
        ({"a": tf.constant(1), 7: {"c": np.float64(2)}}, {"a": 1, "7": {"c": 2.0}}),
        (NAN, None),
        ((1.0, NAN), [1.0, None]),
        ({"a": [np.float32(INF), (-INF,)]}, {"a": [None, [None]]}),
        (np.longdouble("inf"), None),
    ],
)
def test_figures_become_what_json_has(value: object, expected: object) -> None:
    assert plain(value) == expected
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected


def test_a_variable_becomes_its_value() -> None:
    assert plain(tf.Variable([0.5])) == [0.5]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"day": date(2026, 1, 1)}, "day of type date"),
        ({"deep": {"z": [0, 1j]}}, r"deep\.z\[1\] of type complex"),
        ({"set": {1, 2}}, "set of type set"),
        ({"sparse": tf.sparse.from_dense([1.0])}, "sparse of type SparseTensor"),
    ],
)
def test_what_is_no_figure_is_named_in_a_sentence(value: object, named: str) -> None:
    with pytest.raises(LauncherError, match=f"^the job returns the figure {named}: a figure is a number, "):
        plain(value)


def test_every_float_has_a_name() -> None:
    figures = {"loss": tf.constant(0.5), "n": 3, "both": {"w": np.array([[1.0], [NAN]])}, "pair": (1.5, "x")}
    found = dict(numbers(figures))
    assert list(found) == ["loss", "both.w[0][0]", "both.w[1][0]", "pair[0]"]
    assert np.isnan(found["both.w[1][0]"])


def test_a_method_that_returns_nothing_has_no_figures() -> None:
    assert by_name(None, "evaluate") == {}
    assert by_name({"a": 1}, "evaluate") == {"a": 1}


@pytest.mark.parametrize(("value", "kind"), [(0.5, "float"), ([1], "list"), (("cost", 1), "tuple")])
def test_figures_without_names_are_refused_in_a_sentence(value: Any, kind: str) -> None:
    with pytest.raises(LauncherError, match=rf"^the job's evaluate\(\) returns {kind}: it must return its figures by "):
        by_name(value, "evaluate")
