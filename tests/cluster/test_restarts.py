"""What a run does when one of its processes dies, or hangs, in the middle of it."""

from __future__ import annotations

import re
import signal
import subprocess
from typing import Any

import pytest

from launcher.contract.history import folded
from tests.cluster.conftest import write_walk
from tests.support.jobs import ASYNC, IN_THE_MIDDLE, RUN, STEPS, SYNC, TOLERANCE
from tests.support.processes import all_gone, descendants, survivors, task_process
from tests.support.workplace import Ran, Workplace, read_until, records

TWO = ASYNC | {"cluster": {"worker": 2, "ps": 1}}
WALKED = "Epoch: 0125"  # step 375 of 900


def begun(place: Workplace, content: dict[str, Any]) -> tuple[subprocess.Popen[str], str]:
    """Start a run and return it in the middle of its training, with what it printed."""
    place.write(**content)
    launcher = place.start("run")
    return launcher, read_until(launcher, IN_THE_MIDDLE)


def history(ran: Ran) -> list[str]:
    """Return the printed history; steps that are made again print the same lines again."""
    return list(dict.fromkeys(re.findall(r"Epoch: .*", ran.output)))


def resumed_at(ran: Ran) -> list[int]:
    """Return the step of the checkpoint from which each later attempt of the whole cluster resumed."""
    return [int(step) for step in re.findall(r"resumed at step (\d+)", ran.output)]


def assert_like(ran: Ran, undisturbed: Ran) -> None:
    """Assert that an asynchronous run made the undisturbed run's steps, as nearly as it can."""
    assert ran.result["steps"] == STEPS
    for name in ("W", "b"):
        assert ran.metrics[name] == pytest.approx(undisturbed.metrics[name], abs=TOLERANCE), name


def assert_from_a_checkpoint(ran: Ran) -> None:
    """Assert that the cluster restarted once, from a checkpoint around the loss and not from the beginning."""
    (step,) = resumed_at(ran)
    assert step >= 300
    assert step % 100 == 0


# A task dies


def test_a_synchronous_run_ends_bit_for_bit_as_if_nobody_had_died(workplace: Workplace, walk: Ran) -> None:
    write_walk(workplace)
    launcher = workplace.start("run")
    seen = read_until(launcher, WALKED)
    task = "worker:1"  # the leader dies in tests/faults
    task_process(launcher, task).kill()
    ran = workplace.finish(launcher, seen)
    assert (ran.metrics, history(ran)) == (walk.metrics, history(walk))
    assert ran.metrics["walk"] != 0
    assert ran.result["attempts"] == 2
    assert f"{task}: killed by SIGKILL; attempt 2 starts now" in ran.output
    assert_from_a_checkpoint(ran)
    assert ran.logs == {f"attempt-{number}/worker-{index}" for number in (1, 2) for index in (0, 1)}
    assert survivors(ran.directory) == []


def test_a_run_that_ctrl_c_stopped_resumes_and_ends_bit_for_bit_as_an_undisturbed_one(
    workplace: Workplace, walk: Ran
) -> None:
    write_walk(workplace)
    launcher = workplace.start("run")
    seen = read_until(launcher, WALKED)
    tasks = descendants(launcher)
    launcher.send_signal(signal.SIGINT)
    stopped = workplace.finish(launcher, seen)
    assert stopped.code == 130, stopped.output
    step, stopped_after = stopped.result["steps"], stopped.result["wall_s"]
    assert step >= 375
    assert "--resume" in stopped.output
    assert len(tasks) >= 4  # two workers, what they were forked from, and the process that owns all
    assert all_gone(tasks)
    resumed = workplace.finish(workplace.start("run", "--resume", "latest"))
    assert f"resumed at step {step} of 900" in resumed.output
    assert resumed.metrics == walk.metrics
    assert resumed.result["attempts"] == 2
    lines = records(resumed.files / "metrics.jsonl")
    epochs, times = ([record[name] for record in folded(lines)] for name in ("epoch", "time"))
    assert epochs == sorted(epochs)
    assert times == sorted(times)
    assert {(record["attempt"], record["resumed_at"]) for record in lines} == {(1, 0), (2, step)}
    assert resumed.result["resumed"] == {"steps": step, "wall_s": stopped_after}
    assert resumed.result["wall_s"] > stopped_after


def test_an_asynchronous_worker_restarts_alone_while_the_others_train(workplace: Workplace, undisturbed: Ran) -> None:
    hold = workplace.hold
    launcher, seen = begun(workplace, TWO | {"job": "holding.py"})
    hold.touch()  # the next report waits until the worker has restarted, however long that takes here
    task_process(launcher, "worker:1").kill()
    workplace.await_ready("worker:1", attempt=2)
    hold.unlink()
    ran = workplace.finish(launcher, seen)
    assert_like(ran, undisturbed)
    assert ran.result["attempts"] == 2
    updates = ran.result["updates"]
    assert updates["applied"] == STEPS
    assert 0 <= updates["maybe_twice"] < STEPS
    assert resumed_at(ran) == []
    first = {f"attempt-1/{task}" for task in ("chief-0", "ps-0", "worker-0", "worker-1")}
    assert ran.logs == first | {"attempt-2/worker-1"}
    assert survivors(ran.directory) == []


def test_without_its_chief_an_asynchronous_cluster_restarts(workplace: Workplace, undisturbed: Ran) -> None:
    task = "chief:0"  # a ps dies in tests/faults
    launcher, seen = begun(workplace, ASYNC)
    task_process(launcher, task).kill()
    ran = workplace.finish(launcher, seen)
    assert_like(ran, undisturbed)
    assert ran.result["attempts"] == 2
    assert f"{task}: killed by SIGKILL; attempt 2 starts now" in ran.output
    assert_from_a_checkpoint(ran)
    tasks = ("chief-0", "ps-0", "worker-0")
    assert ran.logs == {f"attempt-{number}/{task}" for number in (1, 2) for task in tasks}
    assert survivors(ran.directory) == []


def test_a_death_after_the_last_restart_ends_the_run_and_says_that_they_are_used_up(workplace: Workplace) -> None:
    launcher, seen = begun(workplace, SYNC | {"run": RUN | {"restarts": 1}})
    task_process(launcher, "worker:1").kill()
    seen += read_until(launcher, "resumed at step")
    task_process(launcher, "worker:0").kill()
    ran = workplace.finish(launcher, seen)
    assert ran.code == 1
    assert "worker:0 failed: killed by SIGKILL; restarts exhausted (run.restarts: 1)" in ran.output
    assert ran.result["cause"]["task"] == "worker:0"
    assert ran.result["attempts"] == 2
    assert survivors(ran.directory) == []


# A task hangs; the same of a synchronous run is in tests/faults


def test_an_asynchronous_cluster_restarts_if_a_worker_is_frozen(workplace: Workplace, undisturbed: Ran) -> None:
    launcher, seen = begun(workplace, TWO)
    task_process(launcher, "worker:1").suspend()
    ran = workplace.finish(launcher, seen)
    assert_like(ran, undisturbed)
    assert "worker:1 is suspended by a signal (SIGSTOP or Ctrl-Z); attempt 2 starts now" in ran.output
    assert ran.result["attempts"] == 2
    assert survivors(ran.directory) == []
