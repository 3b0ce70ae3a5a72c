"""What a run does when one of its processes dies, or stands still, in the middle of it."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.conftest import Ran, Workplace, all_gone, descendants, read_until, survivors, task_process

# Slow enough not to have converged at the end: a step too many, or one too few, shows in the last digits.
ARGS = {"epochs": 100, "report_every": 5, "learning_rate": 0.0002}
STEPS = 100 * 17
RUN = {"checkpoint": {"every": "100 steps"}}
SYNC: dict[str, Any] = {"args": ARGS, "cluster": {"worker": 2}, "run": RUN}
ASYNC: dict[str, Any] = {"mode": "async", "args": ARGS, "cluster": {"worker": 2, "ps": 1}, "run": RUN}
IN_THE_MIDDLE = "Epoch: 0020"  # step 340, with checkpoints; the other 1360 leave time for what a test does there
# A call that is made again, because its end was never heard of, is at most 85 steps: 1e-5 of W and b.
TOLERANCE = 1e-4

# A generator made in build() is saved with the rest of the job; each replica draws numbers of its own from it.
RANDOM = """
import tensorflow as tf
from jobs.linear_regression.job import LinearRegression

class RandomWalk(LinearRegression):
    def build(self):
        super().build()
        self.random = tf.random.Generator.from_seed(7)
        self.walk = tf.Variable(0.0, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def train_step(self, batch):
        self.walk.assign_add(self.sum_over_replicas(self.random.normal([])))
        return super().train_step(batch)

    def evaluate(self):
        return {**super().evaluate(), "walk": self.walk}
"""


@dataclass(frozen=True)
class Hit:
    """A run that lost a task, or one that nothing happened to."""

    ran: Ran
    seconds: float  # from the loss to the end
    survivors: list[psutil.Process]

    @property
    def history(self) -> list[str]:
        """The printed history; steps that are made again print the same lines again."""
        return list(dict.fromkeys(re.findall(r"Epoch: .*", self.ran.output)))

    @property
    def resumed_at(self) -> list[int]:
        """The step of the checkpoint that each later attempt of the whole cluster went on from."""
        return [int(step) for step in re.findall(r"resumed at step (\d+)", self.ran.output)]


def begun(place: Workplace, content: dict[str, Any]) -> tuple[subprocess.Popen[str], str]:
    """Start a run and return it in the middle of its training, with what it printed."""
    place.write(**content)
    launcher = place.start("run")
    return launcher, read_until(launcher, IN_THE_MIDDLE)


def ended(place: Workplace, launcher: subprocess.Popen[str], seen: str, lost_at: float) -> Hit:
    ran = place.finish(launcher, seen)
    return Hit(ran, time.monotonic() - lost_at, survivors(place.directory))


def killed(place: Workplace, content: dict[str, Any], task: str) -> Hit:
    """Run, kill the process of this task in the middle, and wait for the end."""
    launcher, seen = begun(place, content)
    task_process(launcher, task).kill()
    return ended(place, launcher, seen, time.monotonic())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Hit:
    """A synchronous run that nothing happens to."""
    place = Workplace(tmp_path_factory.mktemp("undisturbed"))
    return Hit(place.run(**SYNC), 0.0, [])


def assert_like(hit: Hit, undisturbed: Hit) -> None:
    """Assert that an asynchronous run made the undisturbed run's steps, as nearly as it can."""
    assert hit.ran.result["steps"] == STEPS
    for name in ("W", "b"):
        assert hit.ran.metrics[name] == pytest.approx(undisturbed.ran.metrics[name], abs=TOLERANCE), name


def assert_from_a_checkpoint(hit: Hit) -> None:
    """Assert that the cluster started again once, from a checkpoint around the loss and not from the beginning."""
    (step,) = hit.resumed_at
    assert step >= 300
    assert step % 100 == 0


# A task dies


def test_a_synchronous_run_ends_bit_for_bit_as_if_nobody_had_died(workplace: Workplace, undisturbed: Hit) -> None:
    task = "worker:1"  # the leader dies in tests/faults
    hit = killed(workplace, SYNC, task)
    assert (hit.ran.metrics, hit.history) == (undisturbed.ran.metrics, undisturbed.history)
    assert hit.ran.result["attempts"] == 2
    assert f"{task}: killed by SIGKILL; attempt 2 starts in" in hit.ran.output
    assert_from_a_checkpoint(hit)
    assert hit.ran.logs == {f"attempt-{number}/worker-{index}" for number in (1, 2) for index in (0, 1)}
    assert hit.survivors == []


def test_random_numbers_of_a_generator_go_on_where_they_were(tmp_path: Path, workplace: Workplace) -> None:
    (tmp_path / "undisturbed").mkdir()
    for directory in (workplace.directory, tmp_path / "undisturbed"):
        (directory / "random_walk.py").write_text(RANDOM)
    content = SYNC | {"job": "random_walk.py"}
    expected = Workplace(tmp_path / "undisturbed").run(**content).metrics
    hit = killed(workplace, content, "worker:1")
    assert hit.ran.metrics == expected
    assert expected["walk"] != 0
    assert_from_a_checkpoint(hit)


def test_an_asynchronous_worker_comes_back_alone_while_the_others_go_on(workplace: Workplace, undisturbed: Hit) -> None:
    hold = workplace.hold
    launcher, seen = begun(workplace, ASYNC | {"job": "holding.py"})
    hold.touch()  # the next report waits until the worker is back, however long its start takes here
    task_process(launcher, "worker:1").kill()
    workplace.await_ready("worker:1", attempt=2)
    hold.unlink()
    hit = ended(workplace, launcher, seen, time.monotonic())
    assert_like(hit, undisturbed)
    assert hit.ran.result["attempts"] == 2
    updates = hit.ran.result["updates"]
    assert updates["applied"] == STEPS
    assert 0 <= updates["maybe_twice"] < STEPS
    assert hit.resumed_at == []
    first = {f"attempt-1/{task}" for task in ("chief-0", "ps-0", "worker-0", "worker-1")}
    assert hit.ran.logs == first | {"attempt-2/worker-1"}
    assert hit.survivors == []


def test_without_its_chief_an_asynchronous_cluster_starts_again(workplace: Workplace, undisturbed: Hit) -> None:
    task = "chief:0"  # a ps dies in tests/faults
    hit = killed(workplace, ASYNC | {"cluster": {"worker": 1, "ps": 1}}, task)
    assert_like(hit, undisturbed)
    assert hit.ran.result["attempts"] == 2
    assert f"{task}: killed by SIGKILL; attempt 2 starts in" in hit.ran.output
    assert_from_a_checkpoint(hit)
    tasks = ("chief-0", "ps-0", "worker-0")
    assert hit.ran.logs == {f"attempt-{number}/{task}" for number in (1, 2) for task in tasks}
    assert hit.survivors == []


def test_a_death_after_the_last_restart_ends_the_run_and_says_that_they_are_used_up(workplace: Workplace) -> None:
    launcher, seen = begun(workplace, SYNC | {"run": RUN | {"restarts": 1}})
    task_process(launcher, "worker:1").kill()
    seen += read_until(launcher, "resumed at step")
    task_process(launcher, "worker:0").kill()
    hit = ended(workplace, launcher, seen, time.monotonic())
    assert hit.ran.code == 1
    assert "worker:0 failed: killed by SIGKILL; restarts exhausted (run.restarts: 1)" in hit.ran.output
    assert hit.ran.result["cause"]["task"] == "worker:0"
    assert hit.ran.result["attempts"] == 2
    assert hit.survivors == []


def test_a_task_that_dies_before_the_first_step_is_not_started_again(workplace: Workplace) -> None:
    workplace.write(**SYNC)
    launcher = workplace.start("run")
    task_process(launcher, "worker:1").kill()
    hit = ended(workplace, launcher, "", time.monotonic())
    assert hit.ran.code == 1
    assert "worker:1 failed: killed by SIGKILL\n" in hit.ran.output
    assert (hit.ran.result["status"], hit.ran.result["attempts"]) == ("failed", 1)
    assert hit.survivors == []


def test_ctrl_c_while_a_restart_is_waited_for_ends_with_130_and_leaves_no_process(workplace: Workplace) -> None:
    # The evaluator lives while the others wait.
    launcher, seen = begun(workplace, SYNC | {"cluster": {"worker": 1, "evaluator": 1}})
    tasks = descendants(launcher)
    task_process(launcher, "worker:0").kill()
    seen += read_until(launcher, "attempt 2 starts in")
    launcher.send_signal(signal.SIGINT)
    hit = ended(workplace, launcher, seen, time.monotonic())
    assert hit.ran.code == 130, hit.ran.output
    assert hit.ran.result["status"] == "stopped"
    assert hit.ran.logs == {"attempt-1/worker-0", "attempt-1/evaluator-0"}
    assert all_gone(tasks)
    assert hit.survivors == []


# A task stands still; the same of a synchronous run is in tests/faults


def test_an_asynchronous_cluster_starts_again_where_a_worker_is_frozen(workplace: Workplace, undisturbed: Hit) -> None:
    launcher, seen = begun(workplace, ASYNC)
    task_process(launcher, "worker:1").suspend()
    hit = ended(workplace, launcher, seen, time.monotonic())
    assert_like(hit, undisturbed)
    assert "worker:1 has been silent for 20 s; attempt 2 starts in" in hit.ran.output
    assert hit.ran.result["attempts"] == 2
    assert hit.seconds < 60
    assert hit.survivors == []
