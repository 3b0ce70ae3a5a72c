"""What is generated in the pages is what would be generated now."""

from __future__ import annotations

from tests.docs.generated import CONFIGURATION, PICTURE, configuration
from tests.docs.pages import README, ROOT
from tests.docs.terminal import picture

AGAIN = "write it again: python -m tests.docs.generated"


def test_the_tables_of_keys_are_those_of_the_schema() -> None:
    assert CONFIGURATION.read_text() == configuration(), AGAIN


def test_the_picture_of_the_terminal_is_what_the_screen_shows() -> None:
    assert PICTURE.read_text() == picture(), AGAIN


def test_the_picture_is_shown_and_loads_nothing_from_elsewhere() -> None:
    assert f"({PICTURE.relative_to(ROOT)})" in README.read_text()
    assert "url(http" not in picture()
    assert "@import" not in picture()
