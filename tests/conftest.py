"""What all suites share: a place for a run, the undisturbed run of the faults, and which tests take turns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.jobs import SYNC
from tests.support.workplace import Ran, Workplace

UNIT = Path(__file__).parent / "unit"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep every test of a cluster on one worker of xdist: clusters take turns, unit tests run beside them."""
    for item in items:
        if not item.path.is_relative_to(UNIT):
            item.add_marker(pytest.mark.xdist_group("clusters"))


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    with Workplace(tmp_path) as place:
        yield place


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The run that faults hit, and that nothing happens to: synchronous, on two workers."""
    return Workplace(tmp_path_factory.mktemp("undisturbed")).run(**SYNC)
