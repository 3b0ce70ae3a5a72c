"""What the pages point at is there: files, headings, paths in code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, README, ROOT, prose

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH_IN_CODE = re.compile(r"`((?:\.make|docker|docs|jobs|launcher|tests)/[\w./-]*)`")
MOST_LINES = 150  # of the README: one page


def links(page: Path) -> Iterator[str]:
    """Yield the target of every link that stays in the repository."""
    return (found for found in LINK.findall(prose(page)) if "://" not in found)


def anchors(page: Path) -> set[str]:
    """Return what a link to a heading of the page may be, as GitHub makes it from the heading's text."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    for link in links(page):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    named = PATH_IN_CODE.findall(prose(page))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_readme_is_one_page_and_links_to_every_other() -> None:
    assert len(README.read_text().splitlines()) <= MOST_LINES
    linked = {(ROOT / link).resolve() for link in links(README)}
    assert {page for page in PAGES if page != README} <= linked
