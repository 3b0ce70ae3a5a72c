"""The commands of the pages that start clusters: they run, and do what the pages say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, README, ROOT, commands, run, run_page, starts_clusters
from tests.support.jobs import QUICK, QUICK_STEPS


@pytest.mark.parametrize(
    ("command", "more", "steps", "tolerance"),
    [("make run", "", 17_000, 1e-4), ("make run MODE=async", QUICK, QUICK_STEPS, 5e-3)],
    ids=["sync", "async"],
)
def test_make_run_reaches_the_truth_and_leaves_the_run_directory(
    command: str, more: str, steps: int, tolerance: float
) -> None:
    assert command in commands(README)
    printed = run(f"{command} {more}", ROOT, patience=280)
    directory = ROOT / printed.rpartition("run directory: ")[2].strip()
    result = json.loads((directory / "result.json").read_text())
    assert result["metrics"]["W"] == pytest.approx(0.2516349, abs=tolerance)
    assert result["metrics"]["b"] == pytest.approx(0.7988012, abs=tolerance)
    assert {"linear_train.png", "linear_test.png", "cost.png", "model"} <= {path.name for path in directory.iterdir()}
    assert result["steps"] == steps
    shutil.rmtree(directory)


@pytest.mark.timeout(600)  # the README's start two clusters
@pytest.mark.parametrize("page", [page for page in PAGES if starts_clusters(page)], ids=lambda page: page.name)
def test_the_commands_of_a_page_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)
