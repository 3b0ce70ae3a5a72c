"""What a run goes on with: fewer workers, an older checkpoint, or exactly where it was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.support.jobs import ASYNC, IN_THE_MIDDLE, RUN, STEPS, SYNC, TOLERANCE
from tests.support.processes import all_gone, descendants, survivors, task_process
from tests.support.workplace import Ran, Workplace, read_until

SLOW_TO_BUILD = """
import time
from jobs.linear_regression.job import LinearRegression

class Slow(LinearRegression):
    def build(self):
        print("building", flush=True)
        time.sleep(2)
        super().build()
"""


def test_a_worker_that_cannot_be_brought_back_is_left_out_and_the_result_stays(
    workplace: Workplace, undisturbed: Ran
) -> None:
    worker = {"tasks": 3, "min": 2}
    workplace.write(**SYNC | {"cluster": {"worker": worker}, "run": RUN | {"restarts": 0}})
    launcher = workplace.start("run")
    seen = read_until(launcher, IN_THE_MIDDLE)
    task_process(launcher, "worker:2").suspend()  # which TensorFlow finds out; who is killed is told by its connection
    ran = workplace.finish(launcher, seen)
    assert ran.metrics == pytest.approx(undisturbed.metrics, abs=1e-6)
    assert "continuing without worker:2, with 2 of 3 workers (cluster.worker.min: 2)" in ran.output
    assert (ran.result["left_out"], ran.result["world_size"], ran.result["steps"]) == (["worker:2"], 2, STEPS)
    (recovered,) = ran.events("recovered")
    assert recovered["cause"] == "worker:2 is suspended by a signal (SIGSTOP or Ctrl-Z)"
    assert recovered["details"]["lost_steps"] >= 0
    assert survivors(workplace.directory) == []


def test_sigterm_while_the_job_is_being_built_ends_after_the_first_call_with_its_checkpoint(
    workplace: Workplace,
) -> None:
    (workplace.directory / "slow.py").write_text(SLOW_TO_BUILD)
    workplace.write(**SYNC | {"job": "slow.py"})
    launcher = workplace.start("run")
    read_until(launcher, "building")
    for task in ("worker:0", "worker:1"):  # either may be the first to build
        workplace.await_ready(task, attempt=1)
    launcher.send_signal(signal.SIGTERM)
    stopped = workplace.finish(launcher)
    assert stopped.code == 143, stopped.output
    steps = stopped.result["steps"]
    assert 0 < steps < STEPS
    assert (stopped.files / "checkpoints" / f"step-{steps:010d}").is_dir()


@pytest.fixture
def read_only(workplace: Workplace) -> Iterator[Callable[[], None]]:
    """Return a function that makes the output read-only, as a disk that fails becomes."""
    if os.geteuid():
        pytest.skip("only root can mount")
    runs, sealed = workplace.directory / "runs", workplace.directory / "sealed"
    sealed.mkdir()

    def change() -> None:
        # By way of a mount that nobody uses: one with a file that is being written cannot be made read-only.
        subprocess.run(["mount", "--bind", runs, sealed], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", sealed], check=True)
        subprocess.run(["mount", "--bind", sealed, runs], check=True)

    yield change
    for mounted in (runs, sealed):
        subprocess.run(["umount", "--lazy", mounted], check=False)


def test_an_output_that_becomes_read_only_ends_the_run_with_the_cause_and_keeps_its_checkpoints(
    workplace: Workplace, read_only: Callable[[], None]
) -> None:
    workplace.write(**SYNC | {"cluster": {"worker": 1}})
    launcher = workplace.start("run")
    seen = read_until(launcher, IN_THE_MIDDLE)
    read_only()
    ran = workplace.finish(launcher, seen)
    assert ran.code == 1, ran.output
    assert "cannot write to the run directory" in ran.last
    assert "Read-only file system" in ran.last
    assert list((ran.files / "checkpoints").glob("step-*"))
    assert survivors(workplace.directory) == []


# A job whose second worker is suspended while it is imported, which is before the rendezvous.
SUSPENDED = """
import json, os, signal
from jobs.linear_regression.job import LinearRegression

class Suspended(LinearRegression):
    pass

if json.loads(os.environ["LAUNCHER_TASK"])["task"] == "worker:1":
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_worker_that_never_comes_is_left_out_when_half_of_the_start_is_over(workplace: Workplace) -> None:
    (workplace.directory / "suspended.py").write_text(SUSPENDED)
    cluster, run = {"worker": {"tasks": 2, "min": 1}}, RUN | {"start_timeout": "12s"}
    workplace.write(**SYNC | {"job": "suspended.py", "cluster": cluster, "run": run})
    ran = workplace.finish(workplace.start("run"))
    assert ran.code == 0, ran.output
    assert "worker:1 did not join the rendezvous; continuing without worker:1" in ran.output
    assert ran.result["steps"] == STEPS
    assert survivors(workplace.directory) == []


def test_sigterm_stops_an_asynchronous_run_with_a_checkpoint_of_the_last_step_and_it_goes_on_from_there(
    workplace: Workplace, undisturbed: Ran
) -> None:
    workplace.write(**ASYNC)
    launcher = workplace.start("run")
    seen = read_until(launcher, IN_THE_MIDDLE)
    tasks = descendants(launcher)
    launcher.send_signal(signal.SIGTERM)
    stopped = workplace.finish(launcher, seen)
    assert stopped.code == 143, stopped.output
    assert len(tasks) >= 5  # chief, worker, ps, what they were forked from, and the process that owns all
    assert all_gone(tasks)
    step = stopped.result["steps"]
    assert (stopped.files / "checkpoints" / f"step-{step:010d}").is_dir()
    ran = workplace.finish(workplace.start("run", "--resume", "latest"))
    assert f"resumed at step {step} of {STEPS}" in ran.output
    assert ran.result["steps"] == STEPS
    assert ran.metrics == pytest.approx(undisturbed.metrics, abs=TOLERANCE)


def test_a_run_has_one_launcher_and_what_a_killed_one_leaves_is_gone_on_with(
    workplace: Workplace, undisturbed: Ran
) -> None:
    hold = workplace.hold
    workplace.write(**SYNC | {"job": "holding.py"})
    launcher = workplace.start("run")
    read_until(launcher, IN_THE_MIDDLE)
    hold.touch()  # the run lasts until the second launcher has seen it
    second = workplace.finish(workplace.start("run", "--resume", "latest"))
    assert second.code == 2
    assert f"is in use: a launcher (pid {launcher.pid} on " in second.output
    tasks = descendants(launcher)
    launcher.kill()
    launcher.wait()
    hold.unlink()
    third = workplace.start("run", "--resume", "latest")
    assert all_gone(tasks)
    ran = workplace.finish(third)
    assert f"the launcher that ran this before (pid {launcher.pid} on " in ran.output
    assert ran.metrics == undisturbed.metrics
    assert not (ran.files / "locks").exists()
