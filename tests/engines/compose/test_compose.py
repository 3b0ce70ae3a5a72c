"""A cluster in containers, from the image to the removal of everything but the image."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess

import pytest

from tests.docs.pages import commands, run
from tests.engines.compose.conftest import Containers, docker, left_of
from tests.support.jobs import JOB, QUICK, QUICK_STEPS
from tests.support.workplace import PATIENCE, ROOT, read_until

pytestmark = pytest.mark.timeout(600)  # the first test builds the image

LONG = {"epochs": 100_000, "report_every": 5}


@pytest.fixture
def other_owner(containers: Containers) -> int:
    """A user who is not root, and to whom the directory belongs; for a user who is not root, that one."""
    uid = os.getuid() or 1234
    if os.getuid() == 0:
        os.chown(containers.directory, uid, uid)
        for parent in containers.directory.parents[:3]:
            parent.chmod(0o755)  # pytest's own directories are private
    return uid


# One command


@pytest.mark.parametrize(
    ("command", "compose", "tasks", "tolerance"),
    [
        ("make compose", "docker compose", ["worker:0", "worker:1"], 1e-6),
        ("make compose MODE=async", "docker-compose", ["chief:0", "ps:0", "worker:0", "worker:1"], 5e-3),
    ],
)
def test_one_command_of_the_readme_trains_in_containers_and_removes_them(
    monkeypatch: pytest.MonkeyPatch, command: str, compose: str, tasks: list[str], tolerance: float
) -> None:
    assert command in commands()
    monkeypatch.setenv("COMPOSE", compose)
    printed = run(f"{command} {QUICK}", ROOT, patience=540)  # the first one builds the image
    directory = ROOT / printed.rpartition("run directory: ")[2].strip()
    result = json.loads((directory / "result.json").read_text())
    assert (result["status"], result["steps"], result["world_size"]) == ("done", QUICK_STEPS, 2)
    assert result["metrics"]["W"] == pytest.approx(0.2516349, abs=tolerance)
    assert result["metrics"]["b"] == pytest.approx(0.7988012, abs=tolerance)
    assert {"linear_train.png", "linear_test.png", "cost.png", "model"} <= {path.name for path in directory.iterdir()}
    assert {line.partition("│")[0].strip() for line in printed.splitlines() if "│" in line} == set(tasks)
    slugs = {task.replace(":", "-") for task in tasks}
    assert {path.stem for path in (directory / "logs" / "attempt-1").iterdir()} == slugs
    plan = json.loads((directory / "plan.json").read_text())
    assert {task["address"] for task in plan["tasks"]} == {f"{slug}:2222" for slug in slugs}
    assert left_of(directory) == []
    shutil.rmtree(directory)


def test_ctrl_c_while_the_containers_start_removes_them(containers: Containers) -> None:
    containers.write(args=LONG)
    process = containers.start("run", "--on", "compose")
    seen = read_until(process, "2 containers")
    process.send_signal(signal.SIGINT)
    ran = containers.finish(process, seen)
    assert ran.code == 130, ran.output
    assert containers.left() == []


def test_ctrl_c_stops_the_containers_and_removes_them_and_the_run_resumes(containers: Containers) -> None:
    args = {"epochs": 200, "report_every": 10}
    containers.write(args=args, run={"checkpoint": {"every": "50 steps"}})
    process = containers.start("run", "--on", "compose")
    seen = read_until(process, "Epoch: 0050")
    process.send_signal(signal.SIGINT)
    ran = containers.finish(process, seen)
    assert (ran.code, ran.result["status"], ran.result["exit_code"]) == (130, "stopped", 130), ran.output
    assert "to continue: launcher run --resume runs/test-" in ran.output
    assert containers.left() == []
    (containers.directory / "cluster.yaml").unlink()  # the run has its own
    resumed = containers.finish(containers.start("run", "--on", "compose", "--resume", "latest"))
    assert resumed.code == 0, resumed.output
    assert "resumed at step" in resumed.output
    assert resumed.result["steps"] == 200 * 17
    assert containers.left() == []


def test_an_exception_of_the_job_comes_last_and_the_directory_of_the_job_is_read_only(containers: Containers) -> None:
    (containers.directory / "train.py").write_text(JOB.format(evaluate='open("/cluster/mine", "w")'))
    ran = containers.run("--on", "compose", job="train.py", args={}, run={"restarts": 0})
    assert ran.code == 1, ran.output
    *_, cause, code, log = ran.output.rstrip().splitlines()
    assert cause.endswith(" failed: OSError: [Errno 30] Read-only file system: '/cluster/mine'")
    assert code.strip() == 'train.py:25: open("/cluster/mine", "w")'
    assert log.startswith("  full log: runs/test-")
    assert (containers.directory / log.split(": ")[1]).exists()
    assert not (containers.directory / "mine").exists()
    assert containers.left() == []


# By hand


@pytest.mark.parametrize(("compose", "trains"), [("docker compose", False), ("docker-compose", True)])
def test_the_rendered_file_runs_by_hand_with_either_compose(
    containers: Containers, other_owner: int, compose: str, *, trains: bool
) -> None:
    if trains:
        containers.write(args={"epochs": 20})
    else:
        containers.write_small("ready", "result", "exit=0")
    assert containers.finish(containers.start("render", "compose", "--output", "compose.yaml")).code == 0
    (containers.directory / "runs").mkdir()
    os.chown(containers.directory / "runs", other_owner, other_owner)
    done = by_hand(containers, compose, other_owner, "up", "--exit-code-from", "worker-0")
    assert done.returncode == 0, done.stdout
    result = json.loads((containers.directory / "runs" / "test" / "result.json").read_text())
    assert (result["status"], result["steps"]) == ("done", 20 * 17 if trains else 1)


def test_a_service_that_never_comes_is_named_within_the_start_timeout(containers: Containers, other_owner: int) -> None:
    containers.write(run={"start_timeout": "10s", "restarts": 0})
    assert containers.finish(containers.start("render", "compose", "--output", "compose.yaml")).code == 0
    (containers.directory / "runs").mkdir()
    os.chown(containers.directory / "runs", other_owner, other_owner)
    done = by_hand(containers, "docker compose", other_owner, "up", "--exit-code-from", "worker-0", "worker-0")
    assert done.returncode == 3, done.stdout
    assert "waiting for worker:1" in done.stdout
    assert "the cluster did not form in time (run.start_timeout); missing: worker:1" in done.stdout


def by_hand(containers: Containers, compose: str, owner: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*compose.split(), "--file", "compose.yaml", *arguments],
        cwd=containers.directory,
        env={**os.environ, "LAUNCHER_USER": f"{owner}:{owner}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


# What the containers are


def test_the_containers_are_alone_on_an_internal_network_healthy_and_the_user_s_who_started_it_under_sudo(
    containers: Containers, other_owner: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", str(other_owner))
    monkeypatch.setenv("SUDO_GID", str(other_owner))
    containers.write_small("ready", "step=1", "say=trains", "sleep=600")
    process = containers.start("run", "--on", "compose")
    read_until(process, "trains")
    (network,) = json.loads(docker("network", "inspect", containers.network()))
    assert network["Internal"]
    for task in ("worker:0", "worker:1"):
        container = containers.container(task)
        docker_says = json.loads(docker("inspect", container))[0]
        assert docker_says["NetworkSettings"]["Ports"] in ({}, None)
        assert docker_says["Config"]["User"] == f"{other_owner}:{other_owner if os.getuid() == 0 else os.getgid()}"
        assert docker_says["Config"]["Labels"]["launcher.run"] == containers.run_directory.name
        mounts = {mount["Destination"]: mount["RW"] for mount in docker_says["Mounts"]}
        assert mounts == {"/cluster": False, "/runs": True, "/plan.json": False}
        wait_until_healthy(container)
    process.terminate()
    ran = containers.finish(process)
    assert (ran.code, ran.result["status"], ran.result["exit_code"]) == (143, "stopped", 143), ran.output
    there = [containers.directory / "runs", *(containers.directory / "runs").rglob("*")]
    assert {path.lstat().st_uid for path in there} == {other_owner}
    assert containers.left() == []


def wait_until_healthy(container: str) -> None:
    events = ["docker", "events", "--since", "1h", "--filter", f"container={container}"]
    healthy = ["--filter", "event=health_status: healthy", "--format", "{{.Action}}"]
    with subprocess.Popen([*events, *healthy], stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout is not None
        assert "healthy" in listening.stdout.readline()
        listening.kill()


def test_the_image_is_small_and_holds_no_tools_and_no_root() -> None:
    (image,) = json.loads(docker("image", "inspect", "launcher:cpu"))
    assert image["Size"] < 2_000_000_000
    assert image["Config"]["User"] == "launcher"
    found = docker("run", "--rm", "--entrypoint", "sh", "launcher:cpu", "-c", "command -v gcc cc make || id -u")
    assert found.strip() == "1000"
    code = "import os, sysconfig; print(*os.listdir(sysconfig.get_path('purelib')), sep='\\n')"
    packages = docker("run", "--rm", "--entrypoint", "python", "launcher:cpu", "-c", code)
    assert "tensorflow" in packages
    assert not {"pip", "ruff", "mypy", "pytest"} & set(packages.split())


def test_a_changed_job_installs_nothing_again() -> None:
    """The layers of the packages come before those of the code."""
    steps = [line.split()[0:3] for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines() if line.strip()]
    order = [step for step in steps if step[0] == "COPY"]
    assert order[-2:] == [["COPY", "launcher", "/app/launcher"], ["COPY", "jobs", "/app/jobs"]]
