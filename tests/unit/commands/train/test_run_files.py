"""What may change between two starts of one run, and what is said of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.commands.train.run_files import changes, continues, placed
from launcher.errors import UsageError
from launcher.plan.placement import place_file
from launcher.rundir import RunFiles
from launcher.spec.file import check, load
from launcher.spec.yaml.writer import document
from launcher.whole_files import write_json
from tests.unit.engines.compose.made import machine_with

BEFORE: dict[str, Any] = {
    "job": "linear_regression",
    "args": {"epochs": 10, "learning_rate": 0.1},
    "cluster": {"worker": 2, "ps": 1},
}


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    """A run that has a checkpoint."""
    files = RunFiles(tmp_path / "run")
    (files.checkpoints / "step-0000000001").mkdir(parents=True)
    files.cluster_file.write_text(yaml.safe_dump(BEFORE))
    return files


def said(place: Path, **now: Any) -> list[str]:
    """Return what is said of this change."""
    for name, content in (("before", BEFORE), ("now", BEFORE | now)):
        (place / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return list(changes(load(place / "before.yaml").spec, load(place / "now.yaml").spec))


def test_nothing_is_said_where_nothing_changes_or_only_how_it_runs(tmp_path: Path) -> None:
    assert said(tmp_path) == []
    assert said(tmp_path, run={"restarts": 9}, name="other", cluster={"worker": {"tasks": 2, "cpus": 1}}) == []


def test_every_changed_setting_is_named_with_both_values(tmp_path: Path) -> None:
    assert said(tmp_path, args={"epochs": 20, "batch_size": 4}) == [
        "args.batch_size was not set and is 4 from the last checkpoint on",
        "args.epochs was 10 and is 20 from the last checkpoint on",
        "args.learning_rate was 0.1 and is not set from the last checkpoint on",
    ]


def test_another_number_of_workers_is_adapted_to(tmp_path: Path) -> None:
    assert said(tmp_path, cluster={"worker": 3, "ps": 1}) == [
        "there were 2 workers and are 3; the global batch is the same, and so is the result"
    ]
    assert said(tmp_path, mode="async", cluster={"worker": 1, "ps": 1}) == [
        "the mode was sync and is async",
        "there were 2 workers and are 1",
    ]


def test_another_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the run trains linear_regression, and hello is another job, which its"):
        said(tmp_path, job="hello", args={})


def test_a_run_without_a_checkpoint_may_become_anything(files: RunFiles, capsys: pytest.CaptureFixture[str]) -> None:
    asked = load(files.cluster_file, ["args.epochs=20"]).spec
    assert continues(files, asked, again=True)
    assert capsys.readouterr().err == (
        "run continues with a change: args.epochs was 10 and is 20 from the last checkpoint on\n"
    )
    (files.checkpoints / "step-0000000001").rmdir()
    assert not continues(files, asked, again=True)


def test_a_finished_run_goes_on_only_where_more_is_asked_of_it(files: RunFiles) -> None:
    write_json(files.result, {"status": "done", "steps": 170})
    with pytest.raises(SystemExit) as caught:
        continues(files, load(files.cluster_file).spec, again=True)
    assert caught.value.code == 0
    assert continues(files, load(files.cluster_file, ["args.epochs=20"]).spec, again=True)


def test_the_cluster_file_of_a_plan_reads_back_as_what_the_plan_was_made_of(tmp_path: Path) -> None:
    args = {"a": [math.nan, math.inf, -math.inf, -0.0, None, 10**30], "b": {"c": "08\n\u2028"}}
    content = BEFORE | {"job": "hello", "args": args, "run": {"grace": "500ms", "keep_warm": "10m"}}
    asked = check(document(content), tmp_path / "cluster.yaml")
    write_json(tmp_path / "plan.json", place_file(asked, machine_with()).to_dict())
    plan, read = placed(tmp_path / "plan.json")
    again = check(document(read.data), tmp_path / "again.yaml")
    assert repr(again.spec) == repr(plan.spec) == repr(asked.spec)  # nan is not equal to itself
