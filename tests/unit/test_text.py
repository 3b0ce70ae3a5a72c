from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.text import coloured, counted, indented, one_line, plural, printable, size, whole_number
from tests.examples import examples

OVERRIDES = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def test_one_is_singular_and_any_other_number_plural() -> None:
    assert [counted(number, "task") for number in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]
    assert [plural(number, "core") for number in (1, 5)] == ["core", "cores"]


def test_bytes_are_shown_in_the_unit_that_fits() -> None:
    assert [size(count) for count in (0, 540 << 20, 1 << 30)] == ["0 MiB", "540 MiB", "1.0 GiB"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc é │", "a\tb\nc é │"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("back\rwards\x08", "back\\rwards\\x08"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("not\udce9utf-8", "not\\udce9utf-8"),
        ("a\u202eb\u2066c\u2028d\x85e", "a\\u202eb\\u2066c\\u2028d\\x85e"),
        ("\x1bc\x1b]0;title\x07", "\\x1bc\\x1b]0;title\\x07"),
    ],
)
def test_nothing_that_is_printed_can_confuse_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("012", 12),
        ("9" * 18, 10**18 - 1),
        ("9" * 5000, None),
        ("", None),
        ("-1", None),
        ("1 ", None),
        ("٢", None),
    ],
)
def test_a_number_has_ascii_digits_only_and_not_too_many(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@given(st.text())
@examples(300)
def test_whatever_is_shown_has_no_control_but_colours_and_stays_in_its_lines(text: str) -> None:
    for shown in (printable(text), indented(text), one_line(text), re.sub(r"\x1b\[[0-9;:]*m", "", coloured(text))):
        assert not [
            char for char in shown if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") and char not in "\n\t"
        ]
        assert not [char for char in shown if unicodedata.bidirectional(char) in OVERRIDES]
    assert "\n" not in one_line(text)
    assert all(line.startswith("  ") for line in indented(text).split("\n")[1:])


def test_colours_stay_and_end_with_their_text_and_nothing_else_stays() -> None:
    assert coloured("a") == "a"
    assert coloured("\x1b[1;31mred\x1b[2J\x1b]0;t\x07") == "\x1b[1;31mred\\x1b[2J\\x1b]0;t\\x07\x1b[0m"
