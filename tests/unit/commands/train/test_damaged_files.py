"""Whatever lies in the place of a run's file, each verb that reads it works or says a sentence."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher import cli
from launcher.contract.history import folded, is_report, trained
from launcher.contract.task import Task
from launcher.errors import UsageError
from launcher.rundir import RunFiles
from launcher.runtime.checkpoint.content import damage
from launcher.supervise.result import first_error, read_back
from launcher.whole_files import read_lines, write_json
from tests.examples import examples
from tests.unit.commands.train.launches import DONE, FakeLaunch, call

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 10**30, 0.5, float("nan"), float("inf"), -0.0, "", "x", "worker:0", "a\0b", [], [1],
    {}, {"a": 1}, [[]], "1", "/",
]  # fmt: skip
ERROR = {
    "task": "worker:0", "type": "ValueError", "message": "m", "time_ns": 5, "consequence": False, "mendable": False,
    "exit_code": 1, "own": True, "is_sentence": False, "peer": None,
}  # fmt: skip
FAILED = {**DONE.to_dict(), "status": "failed", "exit_code": 1}
FAILED["cause"] = {"task": "worker:1", "error": "e", "file": "errors/attempt-1/worker-1.json"}
BYTES = {
    "empty": b"", "half": b'{"status": "do', "binary": bytes(range(256)), "list": b"[1]", "number": b"3",
    "text": b'"x"', "nothing": b"null", "deep": b"[" * 100_000, "without keys": b"{}",
}  # fmt: skip
mutations = st.lists(st.tuples(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.sampled_from(VALUES)),
                     min_size=1, max_size=2)  # fmt: skip
many = settings(examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])


def mutated(value: Any, changes: list[tuple[list[int], Any]]) -> Any:
    """Return the value with what is at some places in it replaced, or gone."""
    value = copy.deepcopy(value)
    for way, new in changes:
        place = value
        for step in way[:-1]:
            inner = [child for child in (place.values() if isinstance(place, dict) else place)
                     if isinstance(child, dict | list) and child]  # fmt: skip
            place = inner[step % len(inner)] if inner else place
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if keys:
            place[keys[way[-1] % len(keys)]] = copy.deepcopy(new)
    return value


@pytest.fixture
def files(launch: type[FakeLaunch]) -> RunFiles:
    """A run that was stopped; its launcher only pretends."""
    call("--run", "night")
    write_json(launch.files.result, {**DONE.to_dict(), "status": "stopped", "exit_code": 130})
    return launch.files


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return what calls the launcher; returns its exit code and what it said."""

    def answer(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["launcher", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code is None or isinstance(ended.value.code, int)
        return ended.value.code or 0, capfd.readouterr().err

    return answer


VERBS = (
    ("run", "--resume", "night"),
    ("run", "--run", "night"),
    ("run", "--plan", "runs/night/plan.json"),
    ("config", "diff", "--run", "night"),
)
Answer = Callable[..., tuple[int, str]]


def works_or_says_a_sentence(answer: Answer) -> None:
    for verb in VERBS:
        code, said = answer(*verb)
        assert code in (0, 1, 2)
        assert said or code == 0
        assert "Traceback" not in said


@pytest.fixture
def kept(files: RunFiles) -> RunFiles:
    """The same, with a checkpoint."""
    (files.checkpoints / "step-0000000005").mkdir(parents=True)
    return files


@pytest.mark.parametrize("name", ["plan.json", "result.json", "events.jsonl", "metrics.jsonl", "cluster.yaml"])
@pytest.mark.parametrize("kind", [*BYTES, "directory"])
def test_a_file_of_a_run_that_is_none_is_a_sentence(kept: RunFiles, answer: Answer, name: str, kind: str) -> None:
    path = kept.directory / name
    path.unlink(missing_ok=True)
    path.mkdir() if kind == "directory" else path.write_bytes(BYTES[kind])
    works_or_says_a_sentence(answer)


@many
@given(changes=mutations)
def test_any_plan_is_started_or_refused(kept: RunFiles, answer: Answer, changes: list[tuple[list[int], Any]]) -> None:
    plan = json.loads(Path(kept.plan).read_text())
    write_json(Path("other.json"), mutated(plan, changes))
    code, said = answer("run", "--plan", "other.json", "--task", "worker:0", "--run", "other")
    assert code in (0, 1, 2), said
    beside = RunFiles(kept.directory.with_name("damaged"))
    beside.directory.mkdir(exist_ok=True)
    beside.cluster_file.write_bytes(kept.cluster_file.read_bytes())
    write_json(beside.plan, mutated(plan, changes))
    assert answer("run", "--resume", "damaged")[0] in (0, 1, 2)


@pytest.mark.parametrize("result", [FAILED, DONE.to_dict()], ids=["failed", "done"])
def test_a_whole_result_is_read_back_equal(tmp_path: Path, result: dict[str, Any]) -> None:
    write_json(RunFiles(tmp_path).result, result)
    read = read_back(RunFiles(tmp_path), 0)
    assert read is not None
    assert json.loads(json.dumps(read.result.to_dict())) == json.loads(json.dumps(result))


@many
@given(changes=mutations)
def test_any_result_is_read_or_refused(kept: RunFiles, answer: Answer, changes: list[tuple[list[int], Any]]) -> None:
    for result in (FAILED, DONE.to_dict()):
        write_json(kept.result, mutated(result, changes))
        assert answer("run", "--run", "night")[0] in (0, 1, 2)
        try:
            read_back(kept, 0)
            kept.elapsed()
        except UsageError as error:
            assert "start a new run" in str(error)  # noqa: PT017  # or it was read


@many
@given(changes=mutations)
def test_any_error_of_a_task_is_read_or_refused(tmp_path: Path, changes: list[tuple[list[int], Any]]) -> None:
    files = RunFiles(tmp_path)
    files.prepare_attempt(1)
    write_json(files.error(1, "worker-0"), mutated(ERROR, changes))
    found = first_error(files, 0)  # the launcher of its task has said what is damaged
    assert found is None or found[0].task.job


@many
@given(changes=mutations, rest=st.lists(st.sampled_from(VALUES)))
def test_any_lines_are_read_or_left_out(tmp_path: Path, changes: list[tuple[list[int], Any]], rest: list[Any]) -> None:
    report = {"step": 3, "time": 1.0, "task": "worker:0", "attempt": 2, "resumed_at": 2, "cost": 1.0}
    lines = [report, mutated(report, changes), *rest, report | {"attempt": 3}]
    files = RunFiles(tmp_path)
    for path in (files.metrics, files.events):
        path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert 0 <= files.elapsed() < 1e10
    counted = folded(record for record in read_lines(files.metrics)[0] if is_report(record))
    trained(record for record in counted if record["task"] == str(Task("worker", 0)))


@pytest.mark.parametrize("kind", [*BYTES, "directory"])
def test_a_checkpoint_s_state_that_is_none_is_said(tmp_path: Path, kind: str) -> None:
    state = tmp_path / "state.json"
    state.mkdir() if kind == "directory" else state.write_bytes(BYTES[kind])
    assert damage(tmp_path)
