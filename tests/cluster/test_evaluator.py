"""The task that scores checkpoints beside a cluster: it outlives the others' restarts, and never waits for nothing."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from launcher.host.ports import free_ports
from tests.support.jobs import ARGS, LOOK_EVERY, STEPS
from tests.support.processes import survivors, task_process
from tests.support.workplace import Ran, Workplace, read_until

pytestmark = pytest.mark.usefixtures("warm")

CONTENT: dict[str, Any] = {
    "job": "holding.py",
    "args": ARGS,
    "cluster": {"worker": 1, "evaluator": 1},
    "run": {"checkpoint": {"every": "50 steps"}},
}
# Its evaluator is not ready before the others have failed.
FAILING = f"""
import time
from jobs.linear_regression.job import LinearRegression

class Failing(LinearRegression):
    def build(self):
        super().build()
        if self.context.role != "evaluate":
            raise ValueError("no")
        while not (self.directory / "failed").exists():
            time.sleep({LOOK_EVERY})
"""
SCORED = "Epoch: 0002"  # the checkpoint of step 50, the only one before the first report, where the training holds


def assert_last_is_scored(ran: Ran) -> None:
    last = ran.reports("evaluator:0")[-1]
    assert last["step"] == STEPS
    assert {name: last[name] for name in ran.metrics} == ran.metrics


def test_checkpoints_are_scored_while_the_others_train_until_that_of_the_last_step(workplace: Workplace) -> None:
    workplace.hold.touch()
    workplace.write(**CONTENT)
    launcher = workplace.start("run")
    seen = read_until(launcher, f"evaluator:0 │ {SCORED}")
    workplace.hold.unlink()
    ran = workplace.finish(launcher, seen)
    assert_last_is_scored(ran)
    steps = [score["step"] for score in ran.reports("evaluator:0")]
    assert steps[0] == 50
    assert steps == sorted(set(steps))
    assert all(step % 50 == 0 for step in steps)
    assert ran.result["attempts"] == 1


def test_an_evaluator_that_is_killed_comes_back_alone(workplace: Workplace) -> None:
    workplace.hold.touch()
    workplace.write(**CONTENT)
    launcher = workplace.start("run")
    seen = read_until(launcher, f"evaluator:0 │ {SCORED}")
    task_process(launcher, "evaluator:0").kill()
    seen += read_until(launcher, "evaluator:0: killed by SIGKILL; attempt 2 starts now")
    workplace.await_ready("evaluator:0", attempt=2)
    workplace.hold.unlink()
    ran = workplace.finish(launcher, seen)
    assert_last_is_scored(ran)
    steps = [score["step"] for score in ran.reports("evaluator:0")]
    assert steps == sorted(set(steps))  # none twice
    assert "resumed at step" not in ran.output
    assert ran.logs == {"attempt-1/worker-0", "attempt-1/evaluator-0", "attempt-2/evaluator-0"}
    assert survivors(workplace.directory) == []


def test_an_evaluator_outlives_the_restart_of_the_others(workplace: Workplace) -> None:
    workplace.hold.touch()
    workplace.write(**CONTENT)
    launcher = workplace.start("run")
    seen = read_until(launcher, f"evaluator:0 │ {SCORED}")
    task_process(launcher, "worker:0").kill()
    seen += read_until(launcher, "resumed at step 50 of 1700")
    workplace.hold.unlink()
    ran = workplace.finish(launcher, seen)
    assert_last_is_scored(ran)
    assert ran.logs == {"attempt-1/worker-0", "attempt-1/evaluator-0", "attempt-2/worker-0"}
    assert survivors(workplace.directory) == []


def nothing(_: subprocess.Popen[str]) -> None:
    """Let the run come to its end."""


def stop(launcher: subprocess.Popen[str]) -> None:
    launcher.send_signal(signal.SIGINT)


def break_down(launcher: subprocess.Popen[str]) -> None:
    task_process(launcher, "worker:0").kill()


@pytest.mark.parametrize(
    ("end", "status", "codes"),
    [(nothing, "done", (0, 0)), (stop, "stopped", (130, 143)), (break_down, "failed", (1, 143))],
    ids=["done", "stopped", "failed"],
)
def test_an_evaluator_with_a_launcher_of_its_own_ends_when_the_run_is_over(
    workplace: Workplace, end: Callable[[subprocess.Popen[str]], None], status: str, codes: tuple[int, int]
) -> None:
    worker, evaluator = (f"127.0.0.1:{port}" for port in free_ports(2))
    cluster = {"worker": [worker], "evaluator": [evaluator]}
    workplace.hold.touch()
    workplace.write(**CONTENT | {"cluster": cluster, "run": CONTENT["run"] | {"restarts": 0}})
    trains, scoring = (workplace.start("run", "--run", "shared", "--task", f"{job}:0") for job in cluster)
    seen = read_until(scoring, SCORED)
    end(trains)
    workplace.hold.unlink()
    first, second = workplace.finish(trains), workplace.finish(scoring, seen)
    assert (first.code, second.code) == codes, first.output + second.output
    assert first.result["status"] == status
    assert "the results are with worker:0" in second.output
    assert status != "done" or second.reports("evaluator:0")[-1]["step"] == STEPS
    assert survivors(workplace.directory) == []


def test_an_evaluator_ends_also_where_the_run_failed_before_it_was_ready(workplace: Workplace) -> None:
    worker, evaluator = (f"127.0.0.1:{port}" for port in free_ports(2))
    (workplace.directory / "failing.py").write_text(FAILING)
    workplace.write(job="failing.py", cluster={"worker": [worker], "evaluator": [evaluator]})
    trains, scoring = (
        workplace.start("run", "--run", "shared", "--task", f"{job}:0") for job in ("worker", "evaluator")
    )
    assert workplace.finish(trains).code == 1
    (workplace.directory / "failed").touch()
    assert workplace.finish(scoring).code == 143


def test_an_evaluator_ends_also_where_the_run_was_stopped_while_it_started_again(workplace: Workplace) -> None:
    worker, evaluator = (f"127.0.0.1:{port}" for port in free_ports(2))
    workplace.hold.touch()
    workplace.write(**CONTENT | {"cluster": {"worker": [worker], "evaluator": [evaluator]}})
    trains, scoring = (
        workplace.start("run", "--run", "shared", "--task", f"{job}:0") for job in ("worker", "evaluator")
    )
    seen = read_until(scoring, SCORED)
    task_process(scoring, "evaluator:0").kill()
    seen += read_until(scoring, "attempt 2 starts now")
    trains.send_signal(signal.SIGINT)
    workplace.hold.unlink()
    assert workplace.finish(trains).code == 130
    assert workplace.finish(scoring, seen).code == 143
