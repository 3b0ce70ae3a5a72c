from __future__ import annotations

import pytest

from launcher.text import counted, plural, printable, size, whole_number


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
