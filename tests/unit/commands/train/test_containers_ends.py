"""``launcher run --on compose`` with a docker that only pretends: what is made of the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from launcher.contract.task import Task
from launcher.engines.compose.containers import containerised
from launcher.engines.compose.engine import concluded as concluded_by_engine
from launcher.engines.compose.run import ContainersEnded
from launcher.plan.placement import place_file
from launcher.plan.plan import Plan
from launcher.rundir import RunFiles
from launcher.spec.file import load
from launcher.supervise.result import first_error
from launcher.whole_files import write_json
from tests.unit.commands.train.containers_place import DONE, FAILED, FILE, Place
from tests.unit.engines.compose.made import machine_with

BEGAN = 1_000  # nanoseconds; errors of an earlier launcher of the run came before
OTHERS = {"task": "worker:1", "error": "its container was killed (exit code 137)"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, monkeypatch, capsys)


# How it ends


def test_a_run_that_is_done_says_what_it_has_learned_and_leaves_no_container(here: Place) -> None:
    here.ends(DONE)
    called = here.call()
    assert (called.code, called.error) == (0, "")
    assert called.out.splitlines() == [
        "demo: hello, sync, 2 containers, MultiWorkerMirroredStrategy",
        "done: 340 steps in 0:07, 100 steps/s",
        "  loss 0.25",
        f"run directory: runs/{here.files.name}",
    ]
    assert here.docker.left() == []


def test_json_is_the_result_alone(here: Place) -> None:
    here.ends(DONE)
    called = here.call("--json")
    assert json.loads(called.out) == DONE
    assert called.error == "demo: hello, sync, 2 containers, MultiWorkerMirroredStrategy\n"


def test_an_image_that_cannot_be_built_ends_with_its_last_lines(here: Place) -> None:
    here.docker.fails("build", "no space left on device")
    called = here.call()
    assert (called.code, called.error) == (
        1, "the image launcher:cpu could not be built:\n  no space left on device\n",
    )  # fmt: skip
    assert not here.docker.asked("up")


def test_containers_that_cannot_start_are_a_cluster_that_did_not_form(here: Place) -> None:
    here.docker.fails("compose up", "Error: could not select device driver nvidia")
    called = here.call()
    assert called.code == 3
    assert called.error == "the containers could not start:\n  Error: could not select device driver nvidia\n"
    assert here.docker.asked("down")


def test_a_second_launcher_of_the_same_run_is_refused_and_harms_nothing(here: Place) -> None:
    here.ends({**DONE, "status": "stopped", "exit_code": 143}, code=143)
    assert here.call("--run", "night").code == 143
    here.docker.container("worker:1", "running", place="containers")
    called, before = here.call("--run", "night"), here.result
    assert called.code == 2
    assert called.error.startswith("night is running in containers already; to end it: docker compose ")
    assert (here.docker.left(), here.result) == (["worker-1"], before)


def test_containers_left_of_a_killed_launcher_are_removed_first(here: Place) -> None:
    here.ends(DONE)
    here.docker.container("ps:0", code=137, place="containers")
    assert here.call("--run", "night").code == 0
    calls = here.docker.calls
    removed = next(number for number, call in enumerate(calls) if "rm --force ps-0" in call)
    assert removed < next(number for number, call in enumerate(calls) if " up " in call)


def test_a_run_that_failed_names_its_first_cause_and_the_log(here: Place) -> None:
    error = {"task": "worker:0", "type": "ValueError", "message": "no", "exit_code": 1, "consequence": False,
             "mendable": False, "is_sentence": False, "time_ns": 2**62, "code": ["train.py:3: fail()"]}  # fmt: skip
    (here.docker.world / "worker-0.json").write_text(json.dumps(error))
    errors = f"'{here.directory}/runs/latest/errors/attempt-1'"
    here.ends(FAILED, code=1, more=f"mkdir -p {errors}; cp worker-0.json {errors}")
    called = here.call()
    assert called.code == 1
    assert called.out.splitlines()[1:] == [
        f"run directory: runs/{here.files.name}",
        "worker:0 failed: ValueError: no",
        "  train.py:3: fail()",
        f"  full log: runs/{here.files.name}/logs/attempt-1/worker-0.log",
    ]


def test_a_container_that_could_not_even_begin_is_the_cause(here: Place) -> None:
    here.ends(DONE, code=125, more=f"rm '{here.directory}/runs/latest/result.json'")
    called = here.call()
    assert called.code == 1
    assert "worker:0 failed: its container ended with exit code 125" in called.out.splitlines()
    assert (here.result["status"], here.result["steps"], here.result["attempts"]) == ("failed", 0, 0)


def test_a_run_that_was_stopped_goes_on_in_containers(here: Place) -> None:
    here.ends({**DONE, "status": "stopped", "exit_code": 143}, code=143)
    called = here.call()
    assert called.code == 143
    name = here.files.name
    again = f"stopped at step 340 after 0:07; no checkpoint; to continue: launcher run --resume runs/{name}"
    assert called.out.splitlines()[-2] == again
    here.ends(DONE)
    Path("cluster.yaml").unlink()  # the run has its own
    assert here.call("--resume", name).code == 0
    assert here.files.name == name
    assert here.result["status"] == "done"


def test_what_an_earlier_launcher_of_the_run_wrote_is_not_taken_for_this_ones_end(here: Place) -> None:
    here.ends({**DONE, "status": "stopped", "exit_code": 143}, code=143)
    here.call("--run", "night")
    here.ends(DONE, code=2)
    here.docker.does("compose up", "cp up/* containers/")  # and its leader has no result to write down
    called = here.call("--run", "night")
    assert (called.code, here.result["status"]) == (2, "failed")


def test_a_run_that_is_done_is_not_started_again(here: Place) -> None:
    here.ends(DONE)
    here.call("--run", "night")
    before = here.docker.calls
    called = here.call("--run", "night")
    assert (called.code, called.out) == (0, "night is finished (340 steps): nothing to do.\n")
    assert here.docker.calls == before


# What the leader could not know


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "cluster.yaml").write_text(FILE)
    return containerised(place_file(load(tmp_path / "cluster.yaml"), machine_with()))


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    found = RunFiles.create(tmp_path / "runs", "demo")
    for attempt in (1, 2):
        found.prepare_attempt(attempt)
    return found


def fails(files: RunFiles, task: str, time_ns: int, *, attempt: int = 1, **changes: Any) -> None:
    """Write down what one task failed of, at that time."""
    error = {"task": task, "type": "ValueError", "message": f"{task} at {time_ns}", "exit_code": 1, "time_ns": time_ns,
             "consequence": False, "mendable": False, "is_sentence": False, "code": []}  # fmt: skip
    write_json(files.error(attempt, Task.parse(task).slug), error | changes)


def concluded(
    files: RunFiles, plan: Plan, ending: ContainersEnded, told: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """Return the result, which is what result.json has too."""
    if told:
        write_json(files.result, told)
    result = concluded_by_engine(files, plan, ending, BEGAN).result.to_dict()
    assert files.read_result() == result
    return result


def test_the_earliest_error_of_any_task_is_the_cause(files: RunFiles, plan: Plan) -> None:
    fails(files, "worker:0", 3_000)
    fails(files, "worker:1", 2_000)
    fails(files, "ps:0", 4_000)
    result = concluded(files, plan, ContainersEnded(1), FAILED)
    assert result["cause"] == {
        "task": "worker:1", "error": "ValueError: worker:1 at 2000", "file": "errors/attempt-1/worker-1.json",
    }  # fmt: skip
    assert {**result, "cause": None} == {**FAILED, "cause": None}


@pytest.mark.parametrize(
    "change",
    [{"time_ns": BEGAN - 1}, {"consequence": True}, {"mendable": True}],
    ids=["of an earlier launcher", "a consequence", "mended by a restart"],
)
def test_an_error_that_says_nothing_of_why_this_run_failed_is_no_cause(
    files: RunFiles, plan: Plan, change: Mapping[str, Any]
) -> None:
    fails(files, "worker:1", **{"time_ns": 2_000, **change})
    assert first_error(files, BEGAN) is None
    assert concluded(files, plan, ContainersEnded(1), FAILED) == FAILED
    fails(files, "worker:0", 9_000, attempt=2)
    found = first_error(files, BEGAN)
    assert found is not None
    assert (str(found[0].task), found[1]) == ("worker:0", 2)


def test_an_error_in_the_moment_in_which_the_launcher_began_counts(files: RunFiles) -> None:
    fails(files, "worker:1", BEGAN)
    assert first_error(files, BEGAN) is not None


def test_an_error_that_is_a_sentence_stays_one(files: RunFiles) -> None:
    fails(files, "worker:1", 2_000, is_sentence=True, message="there is no data.csv")
    found = first_error(files, BEGAN)
    assert found is not None
    assert found[0].error == "there is no data.csv"


def test_without_any_error_there_is_no_first_one(files: RunFiles) -> None:
    assert first_error(files, BEGAN) is None


def test_a_run_that_is_done_stays_done_whatever_failed_on_the_way(files: RunFiles, plan: Plan) -> None:
    fails(files, "worker:1", 2_000)
    assert concluded(files, plan, ContainersEnded(0), DONE) == DONE


@pytest.mark.parametrize("code", [130, 143])
def test_which_signal_stopped_the_run_the_leader_never_heard(files: RunFiles, plan: Plan, code: int) -> None:
    result = concluded(files, plan, ContainersEnded(code), {**DONE, "status": "stopped", "exit_code": 143})
    assert result == {**DONE, "status": "stopped", "exit_code": code}


def test_a_container_that_the_run_could_not_do_without_is_the_cause_whatever_the_leader_wrote(
    files: RunFiles, plan: Plan
) -> None:
    files.log(2, "worker-1").touch()
    files.log(1, "worker-1").touch()
    result = concluded(files, plan, ContainersEnded(1, (Task("worker", 1), OTHERS["error"])), FAILED)
    assert (result["status"], result["exit_code"], result["attempts"]) == ("failed", 1, 2)
    assert result["cause"] == {**OTHERS, "file": "logs/attempt-2/worker-1.log"}


def test_a_run_that_left_no_result_never_ends_in_zero(files: RunFiles, plan: Plan) -> None:
    result = concluded(files, plan, ContainersEnded(0))
    assert (result["status"], result["exit_code"]) == ("failed", 1)


def test_a_leader_that_left_no_result_is_the_cause(files: RunFiles, plan: Plan) -> None:
    result = concluded(files, plan, ContainersEnded(2))
    assert (result["status"], result["exit_code"], result["attempts"], result["world_size"]) == ("failed", 2, 0, 2)
    assert result["cause"] == {
        "task": "worker:0", "error": "its container ended with exit code 2", "file": "logs/attempt-1/worker-0.log",
    }  # fmt: skip


@pytest.mark.parametrize("code", [130, 143])
def test_a_run_that_was_stopped_before_it_began_is_stopped(files: RunFiles, plan: Plan, code: int) -> None:
    result = concluded(files, plan, ContainersEnded(code))
    assert (result["status"], result["exit_code"], result["steps"], result["cause"]) == ("stopped", code, 0, None)
