"""A run directory that several launchers share: who writes the result, and who counts what."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from launcher.host.out_of_memory import OutOfMemory
from launcher.supervise.result import read_back
from launcher.whole_files import write_json
from tests.unit.engines.local.conftest import MakeLaunch, result

DONE = ("ready", "result", "exit=0")
FAILED = ("ready", "exit=3")
OLD = {
    "status": "failed",
    "exit_code": 1,
    "cause": {"task": "worker:9", "error": "old", "file": "logs/attempt-1/x.log"},
    "steps": 0,
}


def test_the_launcher_of_another_part_leaves_the_result_to_the_leaders(make_launch: MakeLaunch) -> None:
    launch, files, _ = make_launch("ready", "exit=0", workers=2, only="worker:1")
    assert launch.run().exit_code == 0
    assert not files.result.exists()


@pytest.mark.parametrize("there", [None, OLD], ids=["none there", "one there"])
def test_the_launcher_of_another_part_writes_how_it_failed_where_no_result_is(
    make_launch: MakeLaunch, there: Mapping[str, object] | None
) -> None:
    launch, files, _ = make_launch(*FAILED, workers=2, only="worker:1")
    if there:
        write_json(files.result, there)
    assert launch.run().exit_code == 1
    error = {"task": "worker:1", "error": "exited with code 3", "file": "logs/attempt-1/worker-1.log"}
    assert result(files)["cause"] == (there["cause"] if there else error)


def test_the_launcher_of_another_part_writes_what_its_task_could_not_of_the_memory_that_ran_out(
    make_launch: MakeLaunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OutOfMemory, "explain", lambda *_: "killed by the kernel because memory ran out")
    launch, files, _ = make_launch("ready", "kill=SIGKILL", workers=2, only="worker:1", restarts=0)
    assert launch.run().exit_code == 1
    write_json(files.result, {**result(files), "exit_code": 3, "cause": OLD["cause"]})  # as the leader's may see it
    outcome = read_back(files, since_ns=0)
    assert outcome is not None
    assert (outcome.exit_code, outcome.result.cause) == (1, {
        "task": "worker:1",
        "error": "killed by the kernel because memory ran out",
        "file": "errors/attempt-1/worker-1.json",
    })  # fmt: skip


@pytest.mark.parametrize(("words", "status"), [(DONE, "done"), (FAILED, "failed")])
def test_the_leaders_launcher_clears_an_old_result_and_writes_its_own(
    make_launch: MakeLaunch, words: tuple[str, ...], status: str
) -> None:
    launch, files, screen = make_launch("say=here", *words)
    write_json(files.result, OLD)
    seen: list[bool] = []
    screen.on_line = lambda _: seen.append(files.result.exists())
    launch.run()
    assert seen == [False]
    assert (result(files)["status"], result(files)["cause"] == OLD["cause"]) == (status, False)


def test_launchers_that_share_a_directory_count_their_own_attempts(make_launch: MakeLaunch) -> None:
    leaders, files, _ = make_launch(*DONE, workers=2, only="worker:0")
    leaders.run()
    other, _, _ = make_launch("ready", "say=one", "exit=0", workers=2, only="worker:1", files=files)
    other.run()
    again, _, _ = make_launch("ready", "say=two", "exit=0", workers=2, only="worker:1", files=files)
    assert again.run().result.attempts == 2
    assert [files.log(number, "worker-1").read_text() for number in (1, 2)] == ["one\n", "two\n"]
    assert not files.log(2, "worker-0").exists()
    assert (result(files)["status"], result(files)["attempts"]) == ("done", 1)
