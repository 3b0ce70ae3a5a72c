"""The verb without processes: what is prepared before a launch, and what is said after it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from launcher.errors import LauncherError
from launcher.rundir import RunFiles
from launcher.supervise.causes import Cause
from launcher.supervise.result import Outcome
from launcher.terminal.summary import print_last
from tests.unit.commands.train.launches import HOSTS, WORKER, FakeLaunch, call, directory_in, ended, refused

pytestmark = pytest.mark.usefixtures("launch")


# Before the launch


def test_the_run_has_its_file_and_its_plan_before_anything_starts(launch: type[FakeLaunch]) -> None:
    call("--set", "name=other", "--set", "args={}")
    assert launch.files.name.startswith("other-")
    assert launch.files.directory.parent.name == "runs"
    assert yaml.safe_load(launch.files.cluster_file.read_text())["name"] == "other"
    assert json.loads(launch.files.plan.read_text()) == json.loads(json.dumps(launch.plan.to_dict()))
    assert launch.tasks == ("worker:0", "worker:1")


def test_the_headline_says_what_starts_here() -> None:
    first, *_ = call().output.splitlines()
    assert first == "demo: hello, sync, 2 tasks, MultiWorkerMirroredStrategy"
    first, *_ = call(*HOSTS, "--task", "worker:1").output.splitlines()
    assert first == "demo: hello, sync, 1 task, MultiWorkerMirroredStrategy"


def test_tasks_without_addresses_run_in_a_private_network_and_those_with_addresses_in_the_hosts(
    launch: type[FakeLaunch],
) -> None:
    call()
    assert launch.network == "private"
    call("--set", "run.network=host")
    assert launch.network == "host"
    call(*HOSTS, "--host", "node-a")
    assert launch.network == "host"


@pytest.mark.parametrize("evaluators", [0, 1])
def test_one_training_task_listens_nowhere_and_stays_on_the_hosts_network(
    launch: type[FakeLaunch], evaluators: int
) -> None:
    call("--set", "cluster.worker.tasks=1", *(["--set", "cluster.evaluator=1"] * evaluators))
    assert launch.network == "host"


def test_one_task_is_run_alone(launch: type[FakeLaunch]) -> None:
    call(*HOSTS, "--task", "worker:1")
    assert launch.tasks == ("worker:1",)


def test_a_part_of_a_cluster_without_addresses_is_refused_since_it_could_never_meet_the_rest() -> None:
    assert refused("--task", "worker:1").startswith("a part of a cluster needs addresses in the cluster file")


def test_a_machine_runs_its_own_tasks(launch: type[FakeLaunch]) -> None:
    call(*HOSTS, "--host", "node-b")
    assert launch.tasks == ("worker:1",)


def test_tasks_of_several_machines_are_refused_with_what_to_call_on_each() -> None:
    assert refused(*HOSTS) == (
        "the tasks are on 2 machines; start on each of them its part:\n"
        "  launcher run --host node-a\n"
        "  launcher run --host node-b"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--task", "wroker:1"), "--task: the plan has no wroker:1; did you mean 'worker:1'?"),
        (("--task", "ps:0"), "--task: ps:0 does not start: sync mode starts no ps"),
        (("--task", "1"), "--task: '1' is not a task; a task is written job:index, like worker:1"),
        ((*HOSTS, "--host", "node-c"), "--host: no task is on node-c; did you mean 'node-"),
        ((*HOSTS, "--host", "x"), "--host: no task is on x; hosts: node-a, node-b"),
        (("--set", "job=helo"), "--set job=helo: job: there is no job 'helo'; did you mean 'hello'?"),
        (("--set", "job=linear_regression", "--set", "args.rate=1"), "--set args.rate=1: args.rate: unknown key"),
        (("gone.yaml",), "gone.yaml: "),
        (("--resume", "demo-1"), "there is no run 'demo-1'; runs in runs: none"),
    ],
)
def test_what_cannot_start_is_a_sentence_and_leaves_nothing(arguments: tuple[str, ...], sentence: str) -> None:
    assert refused(*arguments).startswith(sentence)


def test_an_output_that_cannot_be_written_is_a_sentence() -> None:
    Path("runs").write_text("a file")
    with pytest.raises(LauncherError, match=r"cannot write to the output directory .*; set run\.output$"):
        call()


# After the launch


def test_lines_have_no_prefix_where_one_task_runs_alone(
    launch: type[FakeLaunch], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self: FakeLaunch, _: str) -> Outcome:
        self.screen.line(WORKER, "said")
        return replace(self.outcome, files=self.files)

    monkeypatch.setattr(launch, "run", run)
    assert "said" in call(*HOSTS, "--task", "worker:1").output.splitlines()
    assert "worker:1 │ said" in call(*HOSTS, "--host", "node-b").output.splitlines()


def test_a_part_of_a_cluster_says_with_whom_the_results_are(launch: type[FakeLaunch]) -> None:
    part = (*HOSTS, "--task", "worker:1")
    assert call(*part).output.splitlines()[1:] == ["done after 0:07; the results are with worker:0"]
    launch.outcome = ended("stopped", 143)
    assert call(*part).output.splitlines()[1:] == ["stopped after 0:07; the results are with worker:0"]


def test_what_was_learned_comes_last_with_the_directory() -> None:
    result = call()
    assert result.exit_code == 0
    done, figures, where = result.output.splitlines()[-3:]
    assert done == "done: 17,000 steps in 0:07, 4,250 steps/s"
    assert figures == "  W [1]  b 0.7988"
    assert Path(directory_in(where)).is_dir()


def test_updates_that_were_perhaps_made_twice_are_said(launch: type[FakeLaunch]) -> None:
    launch.outcome = ended("done", 0, updates={"applied": 17_000, "maybe_twice": 1_700})
    twice = "  1,700 updates may have been applied twice: their workers were lost in the middle"
    assert twice in call().output.splitlines()
    launch.outcome = ended("done", 0, updates={"applied": 17_000, "maybe_twice": 0})
    assert "twice" not in call().output


def test_long_vectors_and_what_is_no_number_are_left_to_result_json(launch: type[FakeLaunch]) -> None:
    launch.outcome = ended("done", 0, metrics={"long": [0.5] * 9, "words": ["a"], "empty": [], "two": [0.5, 1.5]})
    assert call().output.splitlines()[-2] == "  two [0.5, 1.5]"


def test_a_job_without_steps_has_no_speed_and_no_figures(launch: type[FakeLaunch]) -> None:
    launch.outcome = ended("done", 0, steps=0, metrics={"devices": 2}, steps_per_s=0.0)
    assert call().output.splitlines()[-2] == "done: 0 steps in 0:07"


@pytest.mark.parametrize(
    ("code", "saved", "kept"),
    [
        (130, 340, "the last checkpoint is of step 340"),
        (143, 300, "the last checkpoint is of step 300"),
        (143, 0, "no checkpoint"),
    ],
)
def test_a_stopped_run_says_what_it_has_saved_and_how_to_go_on(
    launch: type[FakeLaunch], monkeypatch: pytest.MonkeyPatch, code: int, saved: int, kept: str
) -> None:
    monkeypatch.setattr(RunFiles, "last_checkpoint", lambda _: saved)
    launch.outcome = ended("stopped", code, steps=340, wall_s=75.0)
    result = call()
    assert result.exit_code == code
    again = f"launcher run --resume runs/{launch.files.name}"
    assert result.output.splitlines()[-2] == f"stopped at step 340 after 1:15; {kept}; to continue: {again}"


def test_the_first_cause_comes_last_with_the_users_lines_and_the_log(launch: type[FakeLaunch]) -> None:
    lines = ["train.py:25: self.look()", "train.py:30: raise ValueError('no')"]
    launch.outcome = ended("failed", 1, Cause(WORKER, "ValueError: no", record={"code": lines}))
    result = call()
    directory = directory_in(result.output)
    assert result.exit_code == 1
    assert result.output.splitlines()[-5:] == [
        f"run directory: {directory}",
        "worker:1 failed: ValueError: no",
        *(f"  {line}" for line in lines),
        f"  full log: {directory}/logs/attempt-1/worker-1.log",
    ]


@pytest.mark.parametrize(
    ("network", "error", "hint"),
    [
        ("private", "gaierror: [Errno -3] Temporary failure in name resolution", True),
        ("private", "OSError: [Errno 101] Network is unreachable", True),
        ("private", "URLError: <urlopen error [Errno -2] Name or service not known>", True),
        ("private", "ConnectionRefusedError: [Errno 111] Connection refused", True),
        ("private", "URLError: <urlopen error [Errno 111] Connection refused>", True),
        ("private", "ValueError: no", False),
        ("host", "OSError: [Errno 101] Network is unreachable", False),
    ],
)
def test_a_job_that_wants_out_of_a_private_network_gets_the_hint(
    launch: type[FakeLaunch], network: str, error: str, hint: bool
) -> None:
    launch.outcome = ended("failed", 1, Cause(WORKER, error, record={"code": []}))
    result = call("--set", f"run.network={network}")
    said = "the tasks' network is their own and reaches nothing outside; --set run.network=host lets the job out"
    assert (said in result.output) == hint


def test_a_task_that_left_no_exception_shows_the_last_lines_that_say_something(
    launch: type[FakeLaunch], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = "2026-11-23 04:45:33.123456: I tensorflow/core/util/port.cc:113] oneDNN is on."
    said = [f"line {number}" for number in range(7)]

    def run(self: FakeLaunch, _: str) -> Outcome:
        log = self.files.log(1, WORKER.slug)
        log.parent.mkdir(parents=True)
        log.write_bytes("\n".join([*said, "", noise]).encode() + b"\n\xff\n")
        return replace(ended("failed", 1, Cause(WORKER, "killed by SIGKILL")), files=self.files)

    monkeypatch.setattr(launch, "run", run)
    lines = call().output.splitlines()
    assert lines[-7:-1] == ["worker:1 failed: killed by SIGKILL", *(f"  {line}" for line in [*said[3:], "\ufffd"])]


def test_a_cluster_that_did_not_form_ends_with_3_although_no_log_is_there(launch: type[FakeLaunch]) -> None:
    launch.outcome = ended("failed", 3, Cause(WORKER, "not ready after 60 s (run.start_timeout): worker:1", 0, 3))
    result = call()
    assert result.exit_code == 3
    assert result.output.splitlines()[-2] == "worker:1 failed: not ready after 60 s (run.start_timeout): worker:1"


def test_json_is_the_result_after_what_the_tasks_printed(launch: type[FakeLaunch]) -> None:
    launch.outcome = ended("failed", 1, Cause(WORKER, "x"))
    result = call("--json")
    headline, _, rest = result.output.partition("\n")
    assert headline.startswith("demo: ")
    assert json.loads(rest) == launch.outcome.result.to_dict()
    assert result.exit_code == 1


def test_a_summary_that_nobody_reads_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        print_last(["done"])
        assert sys.stdout is None
