"""How a run ends: done, failed, stopped, never formed, resumed; and that nothing survives it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import JOB, Workplace, all_gone, descendants, read_until, task_process

LONG = {"epochs": 100_000, "report_every": 5}


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this host that another process listens on."""
    program = (
        "import socket, time; s = socket.create_server(('', 0)); print(s.getsockname()[1], flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        yield int(holder.stdout.readline())
        holder.kill()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [there.getsockname()[1] for there in sockets]
    for there in sockets:
        there.close()
    return numbers


# Stopped


def test_ctrl_c_during_the_start_ends_with_130_and_leaves_no_process(workplace: Workplace) -> None:
    workplace.write(args=LONG)
    process = workplace.start("run")
    seen = read_until(process, "test: linear_regression")
    tasks = descendants(process)
    process.send_signal(signal.SIGINT)
    ran = workplace.finish(process, seen)
    assert ran.code == 130, ran.output
    assert ran.result["status"] == "stopped"
    assert all_gone(tasks)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_ctrl_c_during_training_ends_with_130_and_leaves_no_process(workplace: Workplace, mode: str) -> None:
    workplace.write(mode=mode, args=LONG, cluster={"worker": 2, "ps": 1})
    process = workplace.start("run")
    seen = read_until(process, "Epoch: 0010")
    tasks = descendants(process)
    process.send_signal(signal.SIGINT)
    ran = workplace.finish(process, seen)
    assert ran.code == 130, ran.output
    assert ran.result["steps"] >= 170
    assert "--resume" in ran.output
    assert len(tasks) >= 3
    assert all_gone(tasks)


def test_ctrl_c_at_the_end_leaves_a_finished_or_a_stopped_run_and_no_process(workplace: Workplace) -> None:
    workplace.write()
    process = workplace.start("run")
    seen = read_until(process, "Optimization Finished!")
    tasks = descendants(process)
    process.send_signal(signal.SIGINT)
    ran = workplace.finish(process, seen)
    assert (ran.code, ran.result["status"]) in [(0, "done"), (130, "stopped")]
    assert all_gone(tasks)


def test_sigterm_ends_with_143(workplace: Workplace) -> None:
    workplace.write(args=LONG)
    process = workplace.start("run")
    seen = read_until(process, "Epoch: 0005")
    process.terminate()
    assert workplace.finish(process, seen).code == 143


def test_kill_9_of_the_launcher_ends_every_task(workplace: Workplace) -> None:
    workplace.write(args=LONG)
    process = workplace.start("run")
    read_until(process, "Epoch: 0005")
    tasks = descendants(process)
    assert len(tasks) == 3  # two workers and the process that owns them
    process.kill()
    assert all_gone(tasks)


# Resumed


def test_a_stopped_run_resumes_and_ends_with_the_weights_of_an_undisturbed_one(workplace: Workplace) -> None:
    args = {"epochs": 400, "report_every": 10, "batch_size": 5}
    run = {"checkpoint": {"every": "50 steps"}}
    undisturbed = workplace.run(args=args, run=run).metrics
    process = workplace.start("run")
    seen = read_until(process, "Epoch: 0100")
    process.send_signal(signal.SIGINT)
    stopped = workplace.finish(process, seen)
    assert stopped.code == 130, stopped.output
    resumed = workplace.finish(workplace.start("run", "--resume", "latest"))
    assert "resumed at step" in resumed.output
    assert resumed.metrics == undisturbed
    assert resumed.result["attempts"] == 2
    epochs = [json.loads(line)["epoch"] for line in (resumed.files / "metrics.jsonl").read_text().splitlines()]
    assert epochs == sorted(epochs)


def test_a_finished_run_that_is_resumed_says_so_and_does_nothing(workplace: Workplace) -> None:
    first = workplace.run(cluster={"worker": 1})
    before = first.result
    again = workplace.finish(workplace.start("run", "--resume", "latest"))
    assert again.code == 0
    assert "is finished (34 steps): nothing to do" in again.output
    assert again.result == before


# Failed


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_exception_of_the_job_comes_last_with_the_users_line(workplace: Workplace, mode: str) -> None:
    (workplace.directory / "train.py").write_text(JOB.format(evaluate='raise ValueError("the figures are bad")'))
    # With restarts the run tries it once more, if a step was seen before the exception.
    content: dict[str, Any] = {"job": "train.py", "args": {}, "cluster": {"worker": 2, "ps": 1}}
    ran = workplace.run(mode=mode, run={"restarts": 0}, **content)
    assert ran.code == 1
    leader = {"sync": "worker", "async": "chief"}[mode]
    *_, cause, code, log = ran.output.rstrip().splitlines()
    assert cause.endswith(" failed: ValueError: the figures are bad")
    assert code.strip() == 'train.py:25: raise ValueError("the figures are bad")'
    assert log.startswith("  full log: runs/test-")
    assert "Traceback" not in ran.output
    assert ran.result["cause"]["file"].startswith(f"errors/attempt-1/{leader}-")


def test_wrong_args_of_a_script_are_a_sentence_and_exit_code_2(workplace: Workplace) -> None:
    (workplace.directory / "train.py").write_text(JOB.format(evaluate="return {}"))
    ran = workplace.run(job="train.py", args={"rat": 1})
    assert ran.code == 2
    assert "args.rat" in ran.output
    assert "did you mean 'rate'?" in ran.output
    assert "Traceback" not in ran.output


def test_a_worker_that_is_killed_without_restarts_is_the_cause_by_name(workplace: Workplace) -> None:
    workplace.write(args=LONG, run={"restarts": 0})
    process = workplace.start("run")
    seen = read_until(process, "Epoch: 0005")
    task_process(process, "worker:1").kill()
    ran = workplace.finish(process, seen)
    assert ran.code == 1
    assert ran.result["cause"]["task"] == "worker:1"
    assert "worker:1 failed: killed by SIGKILL" in ran.output


# Never formed


def test_a_task_that_never_comes_is_named_and_ends_with_exit_code_3(workplace: Workplace) -> None:
    addresses = [f"127.0.0.1:{number}" for number in free_ports(2)]
    ran = workplace.run("--task", "worker:0", cluster={"worker": addresses}, run={"start_timeout": "15s"})
    assert ran.code == 3
    assert "waiting for worker:1" in ran.output
    assert ran.last.startswith("  full log:")
    assert "missing: worker:1" in ran.output


def test_a_leader_that_never_comes_is_named_by_the_task_that_waits(workplace: Workplace) -> None:
    addresses = [f"127.0.0.1:{number}" for number in free_ports(2)]
    ran = workplace.run("--task", "worker:1", cluster={"worker": addresses}, run={"start_timeout": "2s"})
    assert ran.code == 3
    assert "missing: worker:0" in ran.output


def test_a_written_port_that_is_in_use_is_refused_with_its_holder(workplace: Workplace, port: int) -> None:
    other = free_ports(1)[0]
    ran = workplace.run(cluster={"worker": [f"127.0.0.1:{port}", f"127.0.0.1:{other}"]})
    assert ran.code == 2
    assert f"port {port}" in ran.output
    assert "pid" in ran.output
    assert not (workplace.directory / "runs").exists()


def test_tasks_of_several_machines_are_not_guessed(workplace: Workplace) -> None:
    ran = workplace.run(cluster={"worker": ["node-a:2222", "node-b:2222"]})
    assert ran.code == 2
    assert "launcher run --host node-a" in ran.output


# Beside one another


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_one_launcher_per_task_forms_the_same_cluster_and_all_end_with_0(tmp_path: Path, mode: str) -> None:
    ports = [f"127.0.0.1:{number}" for number in free_ports(4)]
    cluster = {"sync": {"worker": ports[:2]}, "async": {"chief": ports[:1], "worker": ports[1:2], "ps": ports[2:3]}}[
        mode
    ]
    places = {}
    for name, addresses in cluster.items():
        for index in range(len(addresses)):
            directory = tmp_path / f"{name}-{index}"
            directory.mkdir()
            places[f"{name}:{index}"] = Workplace(directory)
    for place in places.values():
        place.write(mode=mode, cluster=cluster)
    started = {task: place.start("run", "--task", task) for task, place in places.items()}
    ran = {task: places[task].finish(process) for task, process in started.items()}
    assert {task: there.code for task, there in ran.items()} == dict.fromkeys(places, 0), ran


def test_two_runs_with_the_same_ports_do_not_disturb_each_other(tmp_path: Path) -> None:
    places = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        places.append(Workplace(tmp_path / name))
        places[-1].write(cluster={"worker": {"tasks": 2, "port": 2222}})
    started = [place.start("run") for place in places]
    ran = [place.finish(process) for place, process in zip(places, started, strict=True)]
    assert [there.code for there in ran] == [0, 0], ran
    assert ran[0].metrics == ran[1].metrics


# The first operations


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_hello_computes_on_every_device_of_every_task(workplace: Workplace, mode: str) -> None:
    ran = workplace.run(mode=mode, job="hello", args={}, cluster={"worker": {"tasks": 2}, "ps": 1})
    assert ran.code == 0, ran.output
    said = {line.partition("│ ")[2] for line in ran.output.splitlines() if "CPU:" in line}
    tasks = {"sync": ("worker:0", "worker:1"), "async": ("chief:0", "ps:0", "worker:0", "worker:1")}[mode]
    assert said == {f"{task} CPU:0: 2 + 3 = 5, 2 × 3 = 6, [[3, 3]] · [[2], [2]] = [[12]]" for task in tasks}


def test_hello_computes_on_each_virtual_device(workplace: Workplace) -> None:
    ran = workplace.run(job="hello", args={}, cluster={"worker": {"tasks": 1, "virtual_devices": 3}})
    assert ran.code == 0, ran.output
    assert [f"worker:0 CPU:{index}" in ran.output for index in range(4)] == [True, True, True, False]


def test_hello_fails_the_task_that_computes_wrongly(workplace: Workplace) -> None:
    broken = "from jobs.hello import Hello\nimport tensorflow as tf\n\nclass Broken(Hello):\n    pass\n\n"
    (workplace.directory / "broken.py").write_text(broken + "tf.Tensor.__add__ = lambda self, other: self\n")
    ran = workplace.run(job="broken.py", args={}, cluster={"worker": 1})
    assert ran.code == 1
    assert "2 + 3 is 5, but" in ran.output
