from __future__ import annotations

from pathlib import Path

import pytest

from launcher.engines.traces import Traces
from launcher.rundir import RunFiles
from launcher.whole_files import write_whole


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.mark.parametrize("latest", [True, False])
def test_of_a_new_run_whose_start_is_refused_nothing_is_left(tmp_path: Path, *, latest: bool) -> None:
    output = tmp_path / "runs"
    before = RunFiles.create(output, "before") if latest else None
    there, seen = names(tmp_path), Traces.of(output, None)
    files = RunFiles.create(output, "new")
    write_whole(files.plan, "{}")
    seen.restore(files)
    assert names(tmp_path) == there
    assert before is None or (output / "latest").resolve() == before.directory


def test_a_run_that_has_begun_or_that_another_launcher_joined_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "runs"
    seen = Traces.of(output, None)
    files = RunFiles.create(output, "new")
    files.prepare_attempt(1)
    there = names(tmp_path)
    seen.restore(files)
    assert names(tmp_path) == there
