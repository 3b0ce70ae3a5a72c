from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import tensorflow as tf

from launcher.contract import reports
from launcher.contract.history import OWN
from launcher.contract.roles import Role
from launcher.engines.local.report_pipe import ReportPipe
from launcher.errors import LauncherError
from launcher.rundir import RunFiles
from launcher.runtime.job import Job
from launcher.runtime.reporter import Reporter
from tests.unit.runtime.conftest import task_context


class Pipe:
    """A pipe to tell things on."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._pipe = ReportPipe(path)

    def lines(self) -> list[dict[str, Any]]:
        return list(map(json.loads, self._pipe.lines()))

    def told(self) -> list[dict[str, Any]]:
        return list(map(json.loads, self._pipe.close()))


@pytest.fixture
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Pipe:
    return Pipe(tmp_path_factory.mktemp("pipe") / "reports")


@pytest.fixture
def job() -> Job:
    job = Job(None, task_context())
    job.steps, job.steps_per_epoch = 100, 10
    return job


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_report_is_a_line_of_the_file_an_event_and_part_of_the_history(
    tmp_path: Path, pipe: Pipe, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([100.0, 102.5])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    reporter = Reporter(task_context(directory=tmp_path, reports=pipe.path))
    record = reporter.report(job, 25, {"cost": tf.constant(0.5)})
    monkeypatch.undo()
    when = record["wall_time"]
    assert list(record) == [*OWN, "cost"]
    assert record == {
        "step": 25,
        "epoch": 2,
        "time": 2.5,
        "wall_time": when,
        "attempt": 1,
        "resumed_at": 0,
        "task": "worker:0",
        "cost": 0.5,
    }
    assert lines(RunFiles(tmp_path).metrics) == reporter.history == [record]
    assert pipe.told() == [{"event": "progress", "step": 25, "steps": 100, "figures": {"cost": 0.5}}]


def test_a_job_without_epochs_is_always_in_the_first(tmp_path: Path) -> None:
    reporter = Reporter(task_context(directory=tmp_path))
    job = Job(None, task_context())
    job.steps = 100
    assert reporter.report(job, 25, {})["epoch"] == 0


def test_events_are_lines_with_their_details(tmp_path: Path, pipe: Pipe) -> None:
    reporter = Reporter(task_context(directory=tmp_path, reports=pipe.path))
    reporter.tell("meeting")
    reporter.tell("waiting", missing=["worker:1"])
    assert pipe.told() == [{"event": "meeting"}, {"event": "waiting", "missing": ["worker:1"]}]


def test_reports_of_several_threads_never_mix(pipe: Pipe, tmp_path: Path) -> None:
    reporter = Reporter(task_context(directory=tmp_path, reports=pipe.path))
    threads = [Thread(target=reporter.tell, args=("long",), kwargs={"x": str(i) * 200_000}) for i in range(5)]
    for thread in threads:
        thread.start()
    heard = []
    while any(thread.is_alive() for thread in threads):
        heard += pipe.lines()  # more than a pipe holds: each thread waits in the middle of its report
    heard += pipe.told()
    assert sorted(one["x"] for one in heard) == [str(i) * 200_000 for i in range(5)]


def test_figures_that_are_too_long_are_a_sentence_where_they_are_returned_and_are_not_recorded(
    tmp_path: Path, job: Job, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "LONGEST", 1 << 20)
    reporter = Reporter(task_context(directory=tmp_path, reports=pipe.path))
    with pytest.raises(LauncherError, match=r"the job's figures take 1\.9 MiB in the report 'progress', and 1 MiB"):
        reporter.report(job, 1, {"x": [0.5] * 400_000})
    assert not RunFiles(tmp_path).metrics.exists()
    assert pipe.told() == []


def test_a_launcher_that_has_gone_is_not_told_and_a_pipe_that_has_gone_is_a_sentence(
    tmp_path: Path, pipe: Pipe
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    Reporter(task_context(directory=tmp_path, reports=str(fifo))).tell("ready")  # and it does not wait
    fifo.unlink()
    with pytest.raises(LauncherError, match=r"cannot report to its launcher over .*: No such file or directory"):
        Reporter(task_context(directory=tmp_path, reports=str(fifo))).tell("ready")
    assert pipe.told() == []


def test_a_task_that_nobody_listens_to_tells_nothing(tmp_path: Path) -> None:
    Reporter(task_context(directory=tmp_path)).tell("ready")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("task", "role", "writes"),
    [("worker:0", Role.TRAIN, True), ("worker:1", Role.TRAIN, False), ("evaluator:0", Role.EVALUATE, True)],
)
def test_only_leader_and_evaluator_write_the_file_and_all_keep_their_history(
    tmp_path: Path, job: Job, task: str, role: Role, writes: bool
) -> None:
    reporter = Reporter(task_context(task, tmp_path, role=role))
    reporter.report(job, 1, {})
    assert RunFiles(tmp_path).metrics.exists() == writes
    assert [record["task"] for record in reporter.history] == [task]


def write(files: RunFiles, *lines: dict[str, Any]) -> str:
    text = "".join(
        json.dumps({"task": "worker:0", "time": 1.0, "attempt": 1, "resumed_at": 0} | line) + "\n" for line in lines
    )
    files.metrics.write_text(text)
    return text


SCORED: dict[str, Any] = {"task": "evaluator:0", "resumed_at": None}


def test_a_resumed_history_ends_at_its_checkpoint_and_the_file_keeps_every_line(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    text = write(files, {"step": 10}, {"step": 20}, SCORED | {"step": 20}, {"step": 30})
    reporter = Reporter(task_context(directory=tmp_path))
    reporter.resume_at(20)
    assert [record["step"] for record in reporter.history] == [10, 20]
    assert files.metrics.read_text() == text


def test_what_an_attempt_reported_after_the_step_where_the_next_one_resumed_counts_no_more(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    second = {"attempt": 2, "resumed_at": 20}
    write(files, {"step": 20}, SCORED | {"step": 20}, {"step": 23}, second | {"step": 30}, second | {"step": 40})
    reporter = Reporter(task_context(directory=tmp_path))
    reporter.resume_at(40)
    assert [record["step"] for record in reporter.history] == [20, 30, 40]
    assert Reporter(task_context("evaluator:0", tmp_path, role=Role.EVALUATE)).last_step() == 20


def test_time_goes_on_where_the_attempts_before_ended_whatever_the_clock_says(tmp_path: Path, job: Job) -> None:
    write(RunFiles(tmp_path), {"step": 20, "time": 500.0})
    reporter = Reporter(task_context(directory=tmp_path, attempt=2, ran_before=100.0))
    reporter.resume_at(20)
    record = reporter.report(job, 30, {})
    assert record["time"] >= 500.0
    assert (record["attempt"], record["resumed_at"]) == (2, 20)


@pytest.mark.parametrize("name", OWN)
def test_a_figure_with_a_name_of_the_record_is_refused_by_name(tmp_path: Path, job: Job, name: str) -> None:
    reporter = Reporter(task_context(directory=tmp_path))
    with pytest.raises(LauncherError, match=f"the job returns a figure called '{name}', which every report has"):
        reporter.report(job, 1, {"cost": 0.5, name: 0.5})
    assert reporter.history == []
    assert not RunFiles(tmp_path).metrics.exists()


@pytest.mark.parametrize(
    "line", [{"step": "4"}, {"task": 7}, {"resumed_at": "0"}, {"time": "soon"}, {"time": None}, {"step": None}]
)
def test_a_line_of_another_shape_is_no_report(tmp_path: Path, line: dict[str, Any]) -> None:
    good = {"step": 3, "task": "worker:0", "time": 1.0, "resumed_at": 0, "attempt": 1}
    RunFiles(tmp_path).metrics.write_text(json.dumps(good) + "\n" + json.dumps({**good, **line}) + "\n")
    reporter = Reporter(task_context(directory=tmp_path))
    assert reporter.last_step() == 3
    reporter.resume_at(3)
    assert reporter.history == [good]


def test_a_run_without_reports_resumes_with_an_empty_history(tmp_path: Path) -> None:
    reporter = Reporter(task_context(directory=tmp_path))
    reporter.resume_at(0)
    assert reporter.history == []
