from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from threading import Barrier

import pytest

from launcher import rundir
from launcher.errors import UsageError
from launcher.rundir import RunFiles, checkpoint_name
from launcher.whole_files import append_json, read_lines, write_json


class Frozen(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Frozen:
        return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)


@pytest.fixture
def same_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir, "datetime", Frozen)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def started(output: Path, name: str) -> RunFiles:
    """A run that has its plan."""
    files = RunFiles(output / name)
    files.directory.mkdir(parents=True)
    files.plan.write_text("{}")
    return files


# A new run


def test_a_run_is_named_after_the_cluster_and_the_utc_second(tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    files = RunFiles.create(tmp_path / "deep" / "runs", "my-run")
    stamp = re.fullmatch(r"my-run-(\d{8}T\d{6})Z", files.name)
    assert stamp
    assert before <= datetime.strptime(stamp[1] + "+0000", "%Y%m%dT%H%M%S%z") <= datetime.now(UTC)
    assert files.directory.is_dir()


@pytest.mark.usefixtures("same_second")
def test_runs_of_the_same_second_get_directories_of_their_own(tmp_path: Path) -> None:
    created = [RunFiles.create(tmp_path, "x").name for _ in range(3)]
    assert created == ["x-20260102T030405Z", "x-20260102T030405Z-2", "x-20260102T030405Z-3"]


@pytest.mark.usefixtures("same_second")
def test_latest_points_at_the_newest_and_nothing_else_is_left(tmp_path: Path) -> None:
    RunFiles.create(tmp_path, "x")
    newest = RunFiles.create(tmp_path, "x")
    assert (tmp_path / "latest").readlink() == Path(newest.name)  # relative: the output directory can be moved
    assert names(tmp_path) == ["latest", "x-20260102T030405Z", "x-20260102T030405Z-2"]


@pytest.mark.parametrize("output", ["taken", "taken/runs"])
def test_an_output_that_cannot_be_written_is_a_sentence(tmp_path: Path, output: str) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(
        UsageError, match=rf"^cannot write to the output directory {tmp_path}/{output}: .+; set run\.output$"
    ):
        RunFiles.create(tmp_path / output, "x")


@pytest.mark.parametrize("make", [RunFiles.create, RunFiles.join])
@pytest.mark.parametrize("kind", ["directory", "file"])
def test_what_is_no_link_in_the_place_of_latest_is_refused_before_anything_is_made(
    tmp_path: Path, make: Callable[[Path, str], RunFiles], kind: str
) -> None:
    latest = tmp_path / "latest"
    latest.mkdir() if kind == "directory" else latest.write_text("mine")
    with pytest.raises(UsageError, match=rf"^{latest} is a {kind}, and the launcher's link to the newest run"):
        make(tmp_path, "x")
    assert names(tmp_path) == ["latest"]


def test_a_record_after_half_a_line_is_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"n": 1}\n{"n":')
    append_json(path, {"n": 2})
    assert read_lines(path) == ([{"n": 1}, {"n": 2}], 1)


DAMAGE = {
    "empty": b"",
    "half": b'{"status": "do',
    "binary": bytes(range(256)),
    "list": b"[1]",
    "number": b"3",
    "nested": b"[" * 100_000,
    "without keys": b"{}",
}


@pytest.mark.parametrize("kind", [*DAMAGE, "directory"])
def test_a_damaged_result_is_a_sentence(tmp_path: Path, kind: str) -> None:
    files = RunFiles(tmp_path)
    files.result.mkdir() if kind == "directory" else files.result.write_bytes(DAMAGE[kind])
    for read in (files.read_result, files.elapsed):
        with pytest.raises(UsageError, match=r"result.json (is damaged: it h|cannot be read \().+; start a new run$"):
            read()


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind not in ("empty", "without keys")])
@pytest.mark.parametrize("name", ["metrics", "events"])
def test_damaged_lines_are_left_out_with_a_sentence(tmp_path: Path, name: str, kind: str) -> None:
    path = getattr(RunFiles(tmp_path), name)
    path.write_bytes(b'{"time": 2.0, "elapsed": 2.0}\n' + DAMAGE[kind])
    assert RunFiles(tmp_path).elapsed() == 2.0
    (said,) = RunFiles(tmp_path).damaged()
    assert re.match(rf"{path} has \d+ lines? that cannot be read, left out", said)


@pytest.mark.parametrize("name", ["metrics", "events"])
def test_a_directory_in_the_place_of_lines_is_a_sentence(tmp_path: Path, name: str) -> None:
    path = getattr(RunFiles(tmp_path), name)
    path.mkdir()
    with pytest.raises(UsageError, match=rf"^{path} cannot be read \(Is a directory\)"):
        RunFiles(tmp_path).elapsed()


# A run that launchers share


def test_a_shared_run_has_the_name_that_is_asked_for_and_is_the_latest(tmp_path: Path) -> None:
    files = RunFiles.join(tmp_path / "deep" / "runs", "night")
    assert files.directory == tmp_path / "deep" / "runs" / "night"
    assert files.directory.is_dir()
    assert (tmp_path / "deep" / "runs" / "latest").readlink() == Path("night")


def test_who_joins_later_finds_what_is_there(tmp_path: Path) -> None:
    first = RunFiles.join(tmp_path, "night")
    first.plan.write_text("{}")
    RunFiles.join(tmp_path, "day")
    assert RunFiles.join(tmp_path, "night") == first
    assert first.plan.read_text() == "{}"
    assert (tmp_path / "latest").readlink() == Path("night")
    assert names(tmp_path) == ["day", "latest", "night"]


@pytest.mark.parametrize("step", ["mkdir", "symlink", "replace"])
def test_two_launchers_join_the_same_directory_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    output, act, joined = tmp_path / "runs", getattr(os, step), []

    def interrupted(*arguments: object, **keys: object) -> None:
        monkeypatch.setattr(os, step, act)
        joined.append(RunFiles.join(output, "night"))  # the other one does all of it just before this step
        act(*arguments, **keys)

    monkeypatch.setattr(os, step, interrupted)
    joined.append(RunFiles.join(output, "night"))
    assert joined == [RunFiles(output / "night")] * 2
    assert (output / "latest").readlink() == Path("night")
    assert names(output) == ["latest", "night"]


def test_many_launchers_join_the_same_directory(tmp_path: Path) -> None:
    together = Barrier(8)

    def join(_: int) -> RunFiles:
        together.wait()
        return RunFiles.join(tmp_path / "runs", "night")

    with ThreadPoolExecutor(8) as launchers:
        assert set(launchers.map(join, range(8))) == {RunFiles(tmp_path / "runs" / "night")}
    assert names(tmp_path / "runs") == ["latest", "night"]


@pytest.mark.parametrize("output", ["taken", "taken/runs"])
def test_a_shared_output_that_cannot_be_written_is_a_sentence(tmp_path: Path, output: str) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match=rf"^cannot write to the output directory {tmp_path}/{output}: .+"):
        RunFiles.join(tmp_path / output, "x")


# Attempts and names


def test_the_next_attempt_is_the_first_in_which_none_of_the_tasks_has_a_log(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    assert files.next_attempt(["worker-0"]) == 1
    files.prepare_attempt(1)
    files.prepare_attempt(1)
    assert (
        files.next_attempt(["worker-0"]) == 1
    )  # directories alone are no attempt: another launcher may have made them
    files.log(1, "worker-0").touch()
    files.prepare_attempt(2)
    files.log(2, "worker-1").touch()
    assert files.next_attempt(["worker-0"]) == 2
    assert files.next_attempt(["worker-1"]) == 1
    assert files.next_attempt(iter(["worker-1", "worker-0"])) == 3
    assert files.next_attempt(["ps-0"]) == 1


def test_every_file_has_the_name_of_the_design() -> None:
    files = RunFiles(Path("r"))
    paths = [files.cluster_file, files.plan, files.events, files.metrics, files.result, files.checkpoints, files.model]
    paths += [files.picture("cost"), files.log(1, "worker-0"), files.error(2, "ps-1"), files.compose]
    assert [str(path.relative_to("r")) for path in paths] == [
        "cluster.yaml",
        "plan.json",
        "events.jsonl",
        "metrics.jsonl",
        "result.json",
        "checkpoints",
        "model",
        "cost.png",
        "logs/attempt-1/worker-0.log",
        "errors/attempt-2/ps-1.json",
        "compose.yaml",
    ]


def test_a_run_that_has_not_ended_has_no_result(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    assert files.read_result() is None
    write_json(files.result, {"status": "done", "steps": 3})
    assert files.read_result() == {"status": "done", "steps": 3}


# Finding a run


def test_a_run_is_found_by_name_by_path_and_as_the_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, elsewhere = tmp_path / "runs", started(tmp_path / "elsewhere", "old")
    there = started(output, "new")
    (output / "latest").symlink_to("new")
    monkeypatch.chdir(tmp_path)
    assert RunFiles.find(output, "new") == there
    assert RunFiles.find(output, "latest") == there
    assert RunFiles.find(output, str(elsewhere.directory)) == elsewhere
    assert RunFiles.find(output, "elsewhere/old") == elsewhere


def test_an_unknown_run_gets_the_nearest_name_or_the_newest_five(tmp_path: Path) -> None:
    for day in range(1, 8):
        started(tmp_path, f"x-2026010{day}")
    (tmp_path / "latest").symlink_to("x-20260107")
    (tmp_path / "half").mkdir()  # no plan: not a run
    with pytest.raises(UsageError) as caught:
        RunFiles.find(tmp_path, "x-2026107")
    assert str(caught.value) == "there is no run 'x-2026107'; did you mean 'x-20260107'?"
    with pytest.raises(UsageError) as caught:
        RunFiles.find(tmp_path, "other")
    known = ", ".join(f"x-2026010{day}" for day in range(7, 2, -1))
    assert str(caught.value) == f"there is no run 'other'; runs in {tmp_path}: {known}"


@pytest.mark.parametrize("run", ["x", "", "latest", "../x", "a\x00b", "x" * 300])
def test_if_there_is_no_run_a_sentence_says_so(tmp_path: Path, run: str) -> None:
    (tmp_path / "latest").symlink_to("gone")
    for output in (tmp_path, tmp_path / "not-there"):
        with pytest.raises(UsageError, match=r"there is no run .*; runs in .*: none$"):
            RunFiles.find(output, run)


def test_the_last_checkpoint_is_that_of_the_highest_step_whatever_else_lies_there(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    assert files.last_checkpoint() == 0
    for name in (checkpoint_name(900), checkpoint_name(1700), "damaged-step-0000002000", "step-x", ".step-2100.abc"):
        (files.checkpoints / name).mkdir(parents=True)
    assert files.last_checkpoint() == 1700
