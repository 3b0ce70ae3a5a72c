"""``launcher run --on compose`` with a docker that only pretends: what is refused, and what is prepared."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path

import pytest
import yaml

from launcher.commands.train import run as module
from launcher.contract.task import Task
from launcher.engines.compose import engine, image
from launcher.engines.compose.docker import Docker
from launcher.engines.compose.image import owner
from launcher.engines.compose.run import _LastReport
from launcher.errors import UsageError
from launcher.plan.plan import Plan
from launcher.spec.job_source import ROOT
from launcher.terminal.screen import TerminalScreen
from tests.unit.commands.train.containers_place import DONE, Place
from tests.unit.engines.compose.made import machine_with, read


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, monkeypatch, capsys)


# Before anything starts


def test_a_start_that_is_refused_while_it_is_prepared_leaves_nothing(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise UsageError("this cannot be a compose file")

    monkeypatch.setattr(engine, "compose", refuse)
    assert here.refused() == "this cannot be a compose file"
    assert here.docker.asked("up") == []


@pytest.mark.parametrize("option", [("--task", "worker:0"), ("--host", "node-a"), ("--directory", ".")])
def test_a_part_of_a_cluster_is_refused(here: Place, option: tuple[str, str]) -> None:
    sentence = "--on compose runs the whole cluster; leave --task, --host and --directory out"
    assert here.refused(*option) == sentence
    assert here.docker.calls == []


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("job=helo", "--set job=helo: job: there is no job 'helo'"),
        ("cluster={worker: [a:1]}", "--set cluster={worker: [a:1]}: cluster.worker.addresses: a:1 is a real machine"),
        ("cluster.worker.cpus=9", "--set cluster.worker.cpus=9: cluster.worker.cpus: worker asks for 18 cores"),
    ],
)
def test_what_cannot_run_is_refused_before_the_engine_is_asked(here: Place, override: str, sentence: str) -> None:
    assert here.refused("--set", override).startswith(sentence)
    assert here.docker.calls == []


@pytest.mark.parametrize(
    ("what", "message", "sentence"),
    [
        (
            "version",
            "Is the docker daemon running?",
            "the Docker engine does not answer (Is the docker daemon running?)",
        ),
        ("version", "permission denied", "the Docker engine does not let you in (permission denied); use sudo, or"),
        ("compose version", "", "neither docker compose nor docker-compose is on this machine; install Docker Engine"),
    ],
)
def test_an_engine_that_cannot_be_used_is_a_sentence(here: Place, what: str, message: str, sentence: str) -> None:
    here.docker.fails(what, message)
    assert here.refused().startswith(sentence)


def test_without_docker_the_run_can_do_without_containers(here: Place) -> None:
    here.docker.remove_program("docker")
    assert here.refused().endswith(", or run --on local")


def test_a_compose_of_the_environment_that_does_not_run_is_refused(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPOSE", "podman-compose")
    assert here.refused().startswith("COMPOSE is 'podman-compose', which does not run; ")


def test_without_a_checkout_there_is_no_image(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "ROOT", here.directory)
    assert here.refused() == (
        f"--on compose builds its image from docker/Dockerfile, which {here.directory} has not; use a checkout"
    )


# What is prepared


def test_the_containers_read_the_runs_own_plan_and_are_restarted_by_the_launcher_alone(here: Place) -> None:
    here.ends(DONE)
    here.call("--set", "args.price=$5")
    services = read(here.files.compose.read_text())["services"]
    assert list(services) == ["worker-0", "worker-1"]
    service = services["worker-0"]
    assert service["command"] == ["run", "--plan", "/plan.json", "--task", "worker:0"]
    assert service["restart"] == "no"  # the engine would do it whatever the exit code says
    assert {volume["target"]: volume["source"] for volume in service["volumes"]} == {
        "/cluster": str(here.directory),
        "/runs": f"{here.directory}/runs",
        "/plan.json": f"{here.files.directory}/compose.plan.json",
    }
    inside = Plan.from_dict(json.loads(here.files.compose_plan.read_text()))
    assert (inside.directory, inside.spec.args) == ("/cluster", {"price": "$5"})
    assert json.loads(here.files.plan.read_text())["directory"] == str(here.directory)  # for who resumes it here
    assert yaml.safe_load(here.files.cluster_file.read_text())["args"] == {"price": "$5"}
    assert json.loads(here.files.plan.read_text())["tasks"][1]["address"] == "worker-1:2222"


def test_compose_is_told_the_run_and_the_user(here: Place) -> None:
    here.ends(DONE, more='echo "$LAUNCHER_RUN $LAUNCHER_USER" >told')
    here.call("--run", "night")
    assert (here.docker.world / "told").read_text() == f"night {os.getuid()}:{os.getgid()}\n"


def test_the_image_is_built_as_the_environment_says(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    here.ends(DONE)
    here.call()
    root = ROOT
    build = f"docker build --file {root}/docker/Dockerfile --tag launcher:cpu --build-arg TENSORFLOW=cpu"
    assert here.docker.asked("build") == [f"{build} {root}"]
    monkeypatch.setenv("BASE_IMAGE", "mirror/python:3.11")
    monkeypatch.setenv("BUILD_NETWORK", "host")
    here.call()
    assert here.docker.asked("build")[1:] == [
        f"{build} --build-arg BASE_IMAGE=mirror/python:3.11 --network host {root}"
    ]


def test_the_image_of_tasks_with_gpus_is_another(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "take", lambda _: machine_with((0, 1), gpus=2))
    here.ends(DONE)
    here.call("--set", "cluster.worker.gpus=1")
    (build,) = here.docker.asked("build")
    assert "--tag launcher:gpu --build-arg TENSORFLOW=gpu" in build


@pytest.mark.parametrize(
    ("rootless", "euid", "sudo", "expected"),
    [
        (True, 1000, {}, (0, 0)),  # which is the user, outside the containers
        (False, 1000, {}, (1000, 1001)),
        (False, 1000, {"SUDO_UID": "7", "SUDO_GID": "8"}, (1000, 1001)),  # left of a shell below sudo
        (False, 0, {}, (0, 1001)),
        (False, 0, {"SUDO_UID": "7", "SUDO_GID": "8"}, (7, 8)),
    ],
)
def test_the_results_belong_to_who_started_the_launcher(
    monkeypatch: pytest.MonkeyPatch, rootless: bool, euid: int, sudo: dict[str, str], expected: tuple[int, int]
) -> None:
    for key in ("SUDO_UID", "SUDO_GID"):
        monkeypatch.delenv(key, raising=False)
    for key, value in sudo.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    monkeypatch.setattr(os, "getuid", lambda: euid)
    monkeypatch.setattr(os, "getgid", lambda: 1001)
    assert owner(Docker(("docker", "compose"), rootless=rootless)) == expected


# A run that was there before


STOPPED = {**DONE, "status": "stopped", "exit_code": 143}


def test_a_second_launcher_that_is_refused_has_not_changed_the_run_that_goes_on(here: Place) -> None:
    here.ends(STOPPED, code=143)
    here.call("--run", "night")
    here.docker.container("worker:1", "running", place="containers")
    files = (here.files.cluster_file, here.files.plan, here.files.compose, here.files.compose_plan, here.files.result)
    before = [path.read_text() for path in files]
    assert here.call("--resume", "night", "--set", "cluster.worker.tasks=1").code == 2
    assert [path.read_text() for path in files] == before


def test_a_named_run_goes_on_with_what_is_asked_now(here: Place) -> None:
    here.ends(STOPPED, code=143)
    here.call("--run", "night")
    here.ends(DONE)
    here.call("--run", "night", "--set", "cluster.worker.tasks=1", "--set", "args.x=1")
    assert list(read(here.files.compose.read_text())["services"]) == ["worker-0"]
    inside = Plan.from_dict(json.loads(here.files.compose_plan.read_text()))
    assert (inside.spec.args, len(inside.tasks)) == ({"x": 1}, 1)


# Under sudo


@pytest.fixture
def owned(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """Who got what, while the launcher believes that it runs under sudo."""
    given: dict[str, tuple[int, int]] = {}

    def chown(path: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks  # or the user could be given what a link leads to
        assert os.path.lexists(path), path
        given[str(path)] = (uid, gid)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", chown)
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "1235")
    return given


def test_all_that_sudo_made_goes_to_the_user_and_nothing_else(here: Place, owned: dict[str, tuple[int, int]]) -> None:
    here.ends(DONE, more='echo "$LAUNCHER_USER" >told')
    here.docker.does("compose up", 'cp up/* containers/; echo "$LAUNCHER_USER" >told')
    here.call("--set", "run.output=out/all", "--run", "night")
    run = here.directory / "out" / "all" / "night"
    assert owned == dict.fromkeys(
        map(str, [run.parent.parent, run.parent, run.parent / "latest", run, run / "cluster.yaml", run / "plan.json",
                  run / "compose.yaml", run / "compose.plan.json"]), (1234, 1235),
    )  # fmt: skip
    assert (here.docker.world / "told").read_text() == "1234:1235\n"
    owned.clear()
    here.call("--set", "run.output=out/all", "--run", "day")
    assert str(run.parent) not in owned  # it was there before, whoever it belongs to


def test_a_run_that_was_moved_goes_on_under_sudo(here: Place, owned: dict[str, tuple[int, int]]) -> None:
    here.ends(STOPPED, code=143)
    here.call("--run", "night")
    moved = (here.directory / "runs").rename(here.directory / "elsewhere")
    owned.clear()
    here.ends(DONE)
    here.docker.does("compose up", f"cp up/* containers/; cp result.json '{moved}/night/'")
    assert here.call("--resume", str(moved / "night")).code == 0
    assert owned[str(moved / "night")] == (1234, 1235)


# On a terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_live_line_can_do_with_what_the_reports_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    line = {"step": 1005, "epoch": 0, "time": 0.1, "task": "worker:0", "loss": 0.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    terminal = Terminal()
    with TerminalScreen([Task("worker", 0)], terminal) as screen:
        screen.progress(_LastReport(tmp_path / "metrics.jsonl").read())
    assert re.search(r"step 1,005\S* · loss 0\.5 · 0:00 elapsed", terminal.getvalue())
