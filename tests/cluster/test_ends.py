"""How a run ends: done, failed, never formed; what only the launcher decides is in tests/unit/engines/local."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from launcher.host.ports import free_ports
from tests.support.jobs import JOB
from tests.support.processes import survivors
from tests.support.workplace import Workplace, read_until

pytestmark = pytest.mark.usefixtures("warm")

# Stopped


def test_ctrl_c_at_the_end_leaves_a_finished_or_a_stopped_run_and_no_process(workplace: Workplace) -> None:
    workplace.write()
    process = workplace.start("run")
    seen = read_until(process, "Optimization Finished!")
    process.send_signal(signal.SIGINT)
    ran = workplace.finish(process, seen)
    assert (ran.code, ran.result["status"]) in [(0, "done"), (130, "stopped")]
    assert survivors(workplace.directory) == []


# Failed


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_exception_of_the_job_comes_last_with_the_users_line(workplace: Workplace, mode: str) -> None:
    (workplace.directory / "train.py").write_text(JOB.format(evaluate='raise ValueError("the figures are bad")'))
    # With restarts the run tries it once more, if a step was seen before the exception.
    cluster = {"worker": 2} if mode == "sync" else {"worker": 1, "ps": 1}
    content: dict[str, Any] = {"job": "train.py", "args": {}, "cluster": cluster}
    ran = workplace.run(mode=mode, run={"restarts": 0}, **content)
    assert ran.code == 1
    leader = {"sync": "worker", "async": "chief"}[mode]
    *_, cause, code, log = ran.output.rstrip().splitlines()
    assert cause.endswith(" failed: ValueError: the figures are bad")
    assert code.strip() == 'train.py:25: raise ValueError("the figures are bad")'
    assert log.startswith("  full log: runs/test-")
    assert "Traceback" not in ran.output
    assert ran.result["cause"]["file"].startswith(f"errors/attempt-1/{leader}-")


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_figure_that_is_nan_ends_the_run_in_its_first_attempt_and_leaves_no_checkpoint_of_it(
    workplace: Workplace, mode: str
) -> None:
    (workplace.directory / "train.py").write_text(JOB.format(evaluate='return {"cost": self.v * float("nan")}'))
    cluster = {"worker": 2} if mode == "sync" else {"worker": 1, "ps": 1}
    ran = workplace.run(mode=mode, job="train.py", args={}, cluster=cluster)
    assert (ran.code, ran.result["attempts"]) == (1, 1), ran.output
    assert ran.result["steps"] <= 4  # the last call is not counted if another task fails before the leader reports it
    assert " failed: cost is NaN at step 4: lower the learning rate" in ran.output.partition("full log:")[0]
    assert "Traceback" not in ran.output
    assert list((ran.files / "checkpoints").glob("step-*")) == []


def test_wrong_args_of_a_script_are_a_sentence_and_exit_code_2(workplace: Workplace) -> None:
    (workplace.directory / "train.py").write_text(JOB.format(evaluate="return {}"))
    ran = workplace.run(job="train.py", args={"rat": 1}, cluster={"worker": 1})
    assert ran.code == 2
    assert "args.rat" in ran.output
    assert "did you mean 'rate'?" in ran.output
    assert "Traceback" not in ran.output


# Never formed


def test_a_task_that_never_comes_is_named_and_ends_with_exit_code_3(workplace: Workplace) -> None:
    addresses = [f"127.0.0.1:{number}" for number in free_ports(2)]
    ran = workplace.run("--task", "worker:0", cluster={"worker": addresses}, run={"start_timeout": "8s"})
    assert ran.code == 3
    assert "waiting for worker:1" in ran.output
    assert ran.last.startswith("  full log:")
    assert "missing: worker:1" in ran.output


def test_a_leader_that_never_comes_is_named_by_the_task_that_waits(workplace: Workplace) -> None:
    addresses = [f"127.0.0.1:{number}" for number in free_ports(2)]
    ran = workplace.run("--task", "worker:1", cluster={"worker": addresses}, run={"start_timeout": "6s"})
    assert ran.code == 3
    assert "missing: worker:0" in ran.output


def test_one_launcher_per_task_forms_a_cluster_and_all_end_with_0(tmp_path: Path) -> None:
    addresses = [f"127.0.0.1:{number}" for number in free_ports(3)]
    cluster = {job: [address] for job, address in zip(("chief", "worker", "ps"), addresses, strict=True)}
    places = [Workplace(tmp_path / job) for job in cluster]
    for place in places:
        place.directory.mkdir()
        place.write(mode="async", cluster=cluster)
    started = [place.start("run", "--task", f"{place.directory.name}:0") for place in places]
    ran = [place.finish(process) for place, process in zip(places, started, strict=True)]
    assert [there.code for there in ran] == [0, 0, 0], ran


def test_launchers_of_an_asynchronous_cluster_that_are_all_asked_to_stop_leave_a_checkpoint(tmp_path: Path) -> None:
    addresses = [f"127.0.0.1:{number}" for number in free_ports(3)]
    cluster = {job: [address] for job, address in zip(("ps", "worker", "chief"), addresses, strict=True)}
    places = [Workplace(tmp_path / job) for job in cluster]
    for place in places:
        place.directory.mkdir()
        args = {"epochs": 100_000, "report_every": 5}
        place.write(mode="async", cluster=cluster, args=args, run={"checkpoint": {"every": "1h"}})
    started = [place.start("run", "--task", f"{place.directory.name}:0") for place in places]
    seen = read_until(started[-1], "Epoch: ")
    for process in started:  # what the chief needs to save first
        process.send_signal(signal.SIGTERM)
    texts = ["", "", seen]
    ran = [place.finish(process, text) for place, process, text in zip(places, started, texts, strict=True)]
    assert [there.code for there in ran] == [143, 143, 143], ran
    (checkpoint,) = (ran[-1].files / "checkpoints").glob("step-*")
    assert int(checkpoint.name.removeprefix("step-")) == ran[-1].result["steps"] > 0


# The first operations


@pytest.mark.parametrize(
    ("mode", "cluster", "devices"),
    [
        ("sync", {"worker": 2}, ["worker:0 CPU:0", "worker:1 CPU:0"]),
        ("sync", {"worker": {"tasks": 1, "virtual_devices": 2}}, ["worker:0 CPU:0", "worker:0 CPU:1"]),
        ("async", {"worker": 1, "ps": 1}, ["chief:0 CPU:0", "ps:0 CPU:0", "worker:0 CPU:0"]),
    ],
    ids=["sync", "virtual devices", "async"],
)
def test_hello_computes_on_every_device_of_every_task(
    workplace: Workplace, mode: str, cluster: dict[str, Any], devices: list[str]
) -> None:
    ran = workplace.run(mode=mode, job="hello", args={}, cluster=cluster)
    assert ran.code == 0, ran.output
    said = [line.partition("│ ")[2] for line in ran.output.splitlines() if "CPU:" in line]
    assert sorted(said) == [f"{device}: 2 + 3 = 5, 2 × 3 = 6, [[3, 3]] · [[2], [2]] = [[12]]" for device in devices]


def test_hello_fails_the_task_that_computes_wrongly(workplace: Workplace) -> None:
    broken = "from jobs.hello import Hello\nimport tensorflow as tf\n\nclass Broken(Hello):\n    pass\n\n"
    (workplace.directory / "broken.py").write_text(broken + "tf.Tensor.__add__ = lambda self, other: self\n")
    ran = workplace.run(job="broken.py", args={}, cluster={"worker": 1})
    assert ran.code == 1
    assert "2 + 3 is 5, but" in ran.output
