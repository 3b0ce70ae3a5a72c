"""Faults across containers: what the engine can do to one of them in the middle of a run."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from typing import Any

import pytest

from tests.engines.compose.conftest import Containers, docker
from tests.support.workplace import read_until

pytestmark = pytest.mark.timeout(600)  # the first test builds the image

# Slow enough not to have converged at the end: a step too many, or one too few, shows in the last digits.
EPOCHS = 300
ARGS = {"epochs": EPOCHS, "report_every": 20, "learning_rate": 0.0002}
SETTINGS = {"args": ARGS, "run": {"checkpoint": {"every": "200 steps"}, "restarts": 9}}
AWAY = 20  # seconds without a network


def notes(output: str) -> str:
    """Return what the launchers themselves said."""
    return "\n".join(line for line in output.splitlines() if "Epoch:" not in line)


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


def begin(containers: Containers, mode: str) -> subprocess.Popen[str]:
    """Start the run that faults hit, in containers."""
    containers.write(mode=mode, cluster={"worker": 2, "ps": 1}, **SETTINGS)
    return containers.start("run", "--on", "compose")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mapping[str, Any], set[str]]:
    """The figures and the printed history of a synchronous run that nothing happens to."""
    place = Containers(tmp_path_factory.mktemp("undisturbed"))
    ran = place.run("--on", "compose", cluster={"worker": 2, "ps": 1}, **SETTINGS)
    return ran.metrics, history(ran.output)


def test_a_synchronous_run_that_is_hit_three_times_ends_as_if_nothing_had_happened(
    containers: Containers, undisturbed: tuple[Mapping[str, Any], set[str]]
) -> None:
    process, seen = begin(containers, "sync"), ""
    for epoch, fault, task in ((60, kill, "worker:0"), (120, pause, "worker:1"), (180, disconnect, "worker:1")):
        before = read_until(process, f"Epoch: {epoch:04d}")
        fault(containers, task)
        after = read_until(process, "resumed at step")
        assert task in notes(after), fault
        seen += before + after
    ran = containers.finish(process, seen)
    assert ran.code == 0, ran.output
    assert (ran.metrics, history(ran.output)) == undisturbed
    assert containers.left() == []


@pytest.mark.parametrize("task", ["worker:1", "chief:0"])  # to the cluster a lost ps is a lost chief
def test_an_asynchronous_run_ends_within_its_tolerance(
    containers: Containers, undisturbed: tuple[Mapping[str, Any], set[str]], task: str
) -> None:
    process = begin(containers, "async")
    seen = read_until(process, "Epoch: 0060")
    kill(containers, task)
    ran = containers.finish(process, seen)
    assert ran.code == 0, ran.output
    expected, _ = undisturbed
    assert ran.metrics["W"] == pytest.approx(expected["W"], abs=0.02)
    assert ran.metrics["b"] == pytest.approx(expected["b"], abs=0.05)
    assert ran.result["steps"] == EPOCHS * 17
    assert task in notes(ran.output)
    assert containers.left() == []


def test_a_worker_that_is_killed_without_restarts_ends_the_run_by_name(containers: Containers) -> None:
    containers.write_small("ready", "step=1", "say=trains", "sleep=600", restarts=0)
    process = containers.start("run", "--on", "compose")
    seen = read_until(process, "worker:1 │ trains")
    kill(containers, "worker:1")
    ran = containers.finish(process, seen)
    assert ran.code == 1, ran.output
    assert ran.result["cause"]["task"] == "worker:1"
    assert "worker:1 failed: its container was killed (exit code 137)" in ran.output
    assert containers.left() == []


def test_a_worker_that_stays_without_a_network_is_named_within_the_start_timeout(
    containers: Containers,
) -> None:
    # Short, and yet enough for one container's import to end this much later than the other's.
    run = {"start_timeout": "15s", "checkpoint": {"every": "200 steps"}}
    containers.write(args={"epochs": 100_000, "report_every": 20}, run=run)
    process = containers.start("run", "--on", "compose")
    seen = read_until(process, "Epoch: 0020")
    docker("network", "disconnect", containers.network(), containers.container("worker:1"))
    ran = containers.finish(process, seen)
    assert ran.code == 3, ran.output
    assert "missing: worker:1" in ran.result["cause"]["error"]
    assert containers.left() == []
