"""Faults across containers: what the engine can do to one of them in the middle of a run."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.engines.compose.conftest import Containers, docker
from tests.support.workplace import Ran, read_until

pytestmark = pytest.mark.timeout(600)  # the first test builds the image

# Slow enough not to have converged at the end: a step too many, or one too few, shows in the last digits.
ARGS = {"epochs": 400, "report_every": 20, "learning_rate": 0.0002}
SETTINGS = {"args": ARGS, "run": {"checkpoint": {"every": "200 steps"}}}
AWAY = 20  # seconds without a network
Fault = Callable[[Containers, str], None]


@dataclass(frozen=True)
class Hit:
    """A run that a fault hit, and one that nothing did."""

    ran: Ran
    left: list[str]

    @property
    def history(self) -> set[str]:
        return history(self.ran.output)

    @property
    def notes(self) -> str:
        """What the launchers themselves said."""
        return "\n".join(line for line in self.ran.output.splitlines() if "Epoch:" not in line)


def history(output: str) -> set[str]:
    """The printed history; steps that are made again print the same lines again."""
    return set(re.findall(r"Epoch: .*", output))


def kill(containers: Containers, task: str) -> None:
    docker("kill", containers.container(task))


def pause(containers: Containers, task: str) -> None:
    docker("pause", containers.container(task))


def disconnect(containers: Containers, task: str) -> None:
    network, container = containers.network(), containers.container(task)
    docker("network", "disconnect", network, container)
    time.sleep(AWAY)  # this long is the fault
    docker("network", "connect", "--alias", task.replace(":", "-"), network, container)


def hit(containers: Containers, mode: str, task: str, fault: Fault) -> Hit:
    """Run in containers until a fifth of the way, let the fault happen, and wait for the end."""
    containers.write(mode=mode, cluster={"worker": 2, "ps": 1}, **SETTINGS)
    process = containers.start("run", "--on", "compose")
    seen = read_until(process, "Epoch: 0080")
    fault(containers, task)
    ran = containers.finish(process, seen)
    return Hit(ran, containers.left())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mapping[str, Any], set[str]]:
    """The figures and the printed history of a synchronous run that nothing happens to."""
    place = Containers(tmp_path_factory.mktemp("undisturbed"))
    ran = place.run("--on", "compose", cluster={"worker": 2, "ps": 1}, **SETTINGS)
    return ran.metrics, history(ran.output)


@pytest.mark.parametrize(("fault", "task"), [(kill, "worker:0"), (pause, "worker:1"), (disconnect, "worker:1")])
def test_a_synchronous_run_ends_as_if_nothing_had_happened(
    containers: Containers, undisturbed: tuple[Mapping[str, Any], set[str]], fault: Fault, task: str
) -> None:
    seen = hit(containers, "sync", task, fault)
    assert seen.ran.code == 0, seen.ran.output
    assert (seen.ran.metrics, seen.history) == undisturbed
    assert "resumed at step" in seen.notes
    assert task in seen.notes
    assert seen.left == []


@pytest.mark.parametrize(
    ("fault", "task"),
    [(kill, "worker:1"), (kill, "chief:0")],  # to the cluster the loss of a ps is what that of the chief is
)
def test_an_asynchronous_run_ends_within_its_tolerance(
    containers: Containers, undisturbed: tuple[Mapping[str, Any], set[str]], fault: Fault, task: str
) -> None:
    seen = hit(containers, "async", task, fault)
    assert seen.ran.code == 0, seen.ran.output
    expected, _ = undisturbed
    assert seen.ran.metrics["W"] == pytest.approx(expected["W"], abs=0.02)
    assert seen.ran.metrics["b"] == pytest.approx(expected["b"], abs=0.05)
    assert seen.ran.result["steps"] == 400 * 17
    assert task in seen.notes
    assert seen.left == []


def test_a_worker_that_is_killed_without_restarts_ends_the_run_by_name(containers: Containers) -> None:
    containers.write(args={"epochs": 100_000, "report_every": 20}, run={"restarts": 0})
    process = containers.start("run", "--on", "compose")
    seen = read_until(process, "Epoch: 0020")
    kill(containers, "worker:1")
    ran = containers.finish(process, seen)
    assert ran.code == 1, ran.output
    assert ran.result["cause"]["task"] == "worker:1"
    assert "worker:1 failed: its container was killed (exit code 137)" in ran.output
    assert containers.left() == []


def test_a_worker_that_stays_without_a_network_is_named_within_the_start_timeout(
    containers: Containers,
) -> None:
    # Short, and yet enough for three imports of TensorFlow on two busy cores.
    run = {"start_timeout": "25s", "checkpoint": {"every": "200 steps"}}
    containers.write(args={"epochs": 100_000, "report_every": 20}, run=run)
    process = containers.start("run", "--on", "compose")
    seen = read_until(process, "Epoch: 0020")
    docker("network", "disconnect", containers.network(), containers.container("worker:1"))
    ran = containers.finish(process, seen)
    assert ran.code == 3, ran.output
    assert "missing: worker:1" in ran.result["cause"]["error"]
    assert containers.left() == []
