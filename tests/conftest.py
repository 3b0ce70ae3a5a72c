"""What all suites share: a place for a run, the undisturbed run of the faults, and which tests take turns."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from tests.examples import examples
from tests.support.jobs import SYNC
from tests.support.workplace import Ran, Workplace

# Each test of these fills two cores, or waits for what it has broken: they take turns, those that start containers
# beside those that start processes, and other tests run beside both.
TURNS = {"tests/cluster/": "processes", "tests/faults/": "processes", "tests/engines/": "containers"}

settings.register_profile("launcher", examples(100))
settings.load_profile("launcher")
# Hypothesis also tries the numbers and words that it finds in the code that is imported when a test begins, so the
# tests before a test would decide what that test tries.
pytest.MonkeyPatch().setattr(providers, "is_local_module_file", lambda _: False)


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what the imports made.

    TensorFlow's objects are no garbage, and a walk over all of them stalled a test of two seconds for 25 to 58, in four
    runs of four, without using a core meanwhile; none of more than 8 seconds was seen since.
    """
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return a worker for each core and one more, since clusters and containers also wait; 8 at most."""
    return min(8, len(os.sched_getaffinity(0)) + 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the tests of a file, and all tests that start clusters, to one worker of xdist."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Turns(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            turn = next((turn for folder, turn in TURNS.items() if nodeid.startswith(folder)), None)
            return turn or nodeid.partition("::")[0]

    return Turns(config, log)


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    with Workplace(tmp_path) as place:
        yield place


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The run that faults hit, and that nothing happens to: synchronous, on two workers."""
    return Workplace(tmp_path_factory.mktemp("undisturbed")).run(**SYNC)
