from __future__ import annotations

from typing import Any

import pytest

from launcher.errors import SpecError
from launcher.spec.yaml.nodes import Node
from launcher.spec.yaml.parser import parse


def read(text: str) -> Any:
    node, problems = parse(text, lambda line: f"f:{line}")
    assert not problems
    return node.plain() if node else None


def problem(text: str) -> str:
    try:
        _, problems = parse(text, lambda line: f"f:{line}")
    except SpecError as error:
        problems = list(error.problems)
    (only,) = problems
    return str(only)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True), ("False", False), ("on", "on"), ("yes", "yes"), ("no", "no"), ("off", "off"), ("y", "y"),
        ("null", None), ("~", None), ("", None), ("12", 12), ("-3", -3), ("+3", 3), ("007", 7), ("0x10", "0x10"),
        ("1_000", "1_000"), ("0o17", "0o17"), ("017", 17), ("9223372036854775808", 2**63), ("-0.0", -0.0), ("2e5", 2e5),
        ("9" * 60, 10**60 - 1), ("0.30000000000000004", 0.1 + 0.2), ("2001-12-14t21:59:43.10-05:00",) * 2,
        ("1e-3", 0.001), ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0),
        (".inf", float("inf")), ("30s", "30s"), ("1.2.3", "1.2.3"), ("=", "="),
        ("22:30", "22:30"), ("node:22", "node:22"), ("1:2:3", "1:2:3"), ("2024-01-01", "2024-01-01"), ("'5'", "5"),
        ('"true"', "true"), ("!!str 5", "5"), ("! 5", "5"),
    ],
)  # fmt: skip
def test_only_plain_words_have_a_type(word: str, value: object) -> None:
    found = read(f"a: {word}")["a"]
    assert repr(found) == repr(value)


def test_keys_are_always_text() -> None:
    assert read("on: 1\n1: 2\ntrue: 3\n") == {"on": 1, "1": 2, "true": 3}


def test_anchors_aliases_and_merges_work() -> None:
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd: {<<: [*a, {x: 5, z: 6}]}\n"
    assert read(text) == {
        "a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}, "c": {"x": 1, "y": 3}, "d": {"x": 1, "y": 2, "z": 6},
    }  # fmt: skip


def test_each_key_knows_its_line_and_a_missing_one_that_of_what_is_above_it() -> None:
    node, _ = parse("a:\n  b: 1\n  c:\n  - x\n  - y\n", lambda line: f"f:{line}")
    assert isinstance(node, Node)
    paths: dict[tuple[str | int, ...], str] = {("a", "b"): "2", ("a", "c", 1): "5", ("a", "z"): "1", ("q",): "1"}
    assert {path: node.locate(path) for path in paths} == {path: f"f:{line}" for path, line in paths.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3: a: is written twice, first at f:1; keep one of them"),
        ("a: {b: 1, b: 2}\n", "f:1: a.b: is written twice"),
        ("a: !!python/object:os.system x\n", "f:1: a: the tag !!python/object:os.system is not supported"),
        ("a: !own x\n", "f:1: a: the tag !own is not supported"),
        ("a: 1\n---\nb: 2\n", "f:2: a second document begins here"),
        ("a: *b\n", "f:1: a: *b has no &b above it"),
        ("a: &a [*a]\n", "f:1: a.0: *a is inside &a itself"),
        ("a: " + "[" * 500, "f:1: a.0: is nested deeper than 40 levels"),
        ("a: {<<: 5}\n", "f:1: a.<<: merges mappings only"),
        ("? [a]\n: b\n", "f:1: a key is a word before a ':'"),
        ("'': b\n", "f:1: a key is a word before a ':'"),
        ("a: b: c\n", "f:1: column 5: a ':' is not allowed here"),
        ("a: - b\n", "f:1: column 4: a list cannot begin here; write [a, b], or put '- a' in a line of its own"),
        ("a: ? b\n", "f:1: column 4: a value cannot begin with '? '; put it in quotes"),
        ('a: "\\ud800"\n', "f:1: column 7: half a character after '\\u'; write the character itself"),
        ("%\na: b\n", "f:1: column 2: a value cannot begin with '%'; put it in quotes"),
        ("a: 1\nb: [1,\nc: 2\n", "f:2: column 4: a list that begins here with '[' is not closed"),
        ("a: {b: 1\n", "f:1: column 4: a mapping that begins here with '{' is not closed"),
        ("a: 'x\n", "f:1: column 4: text that begins here with a quote is not closed"),
        ("a:\n  b: 1\n c: 2\n", "f:3: column 2: the indentation does not fit the lines above"),
        ("a:\n\tb: 1\n", "f:2: column 1: a tab; YAML is indented with spaces"),
        ("a: @b\n", "f:1: column 4: a value cannot begin with '@'; put it in quotes"),
        ("a: [b]]\n", "f:1: column 7: "),
        ('a: "x\\0"\n', "f:1: a: contains a NUL character"),
        ("a: 1\nb: \x07\n", "f:2: contains the control character U+0007"),
    ],
)
def test_what_is_not_understood_gets_line_and_sentence(text: str, expected: str) -> None:
    assert problem(text).startswith(expected)


def test_a_few_lines_of_aliases_that_expand_without_end_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert "expands to more than 100,000 values here" in problem("\n".join(lines))


def test_an_empty_text_is_nothing() -> None:
    assert parse("# only a comment\n", str) == (None, [])


def test_a_number_that_is_too_long_for_python_stays_text() -> None:
    assert read("a: " + "9" * 5000)["a"] == "9" * 5000


def test_what_no_parser_reads_is_nested_too_deeply_all_the_same() -> None:
    assert problem("a: " + "[" * 5000).endswith("nested deeper than 40 levels")
