"""The engine through the user's own commands, each answered by a docker that only pretends."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.contract.task import Task
from launcher.engines.compose import docker as module
from launcher.engines.compose.docker import Docker, last_lines
from launcher.engines.compose.supervisor import Container
from launcher.errors import LauncherError, UsageError
from tests.unit.engines.compose.fake_docker import FakeDocker

INSTALL = "install Docker Engine and its compose plugin (https://docs.docker.com/engine/install)"
DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
DENIED = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
CONTAINER = Container("abc", "exited", 137, "2026-01-01T00:00:00Z")


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    return FakeDocker(tmp_path, monkeypatch)


def refusal() -> str:
    with pytest.raises(UsageError) as caught:
        Docker.find()
    assert caught.value.exit_code == 2
    return str(caught.value)


# Found


@pytest.mark.usefixtures("docker")
def test_an_engine_that_works_is_found_with_its_compose() -> None:
    assert Docker.find() == Docker(("docker", "compose"), rootless=False, version="27.0.1")


def test_without_docker_the_sentence_says_what_to_install(docker: FakeDocker) -> None:
    docker.remove_program("docker")
    assert refusal() == f"there is no docker command on this machine; {INSTALL}, or run --on local"


def test_a_docker_that_may_not_be_executed_is_none(docker: FakeDocker) -> None:
    docker.program("docker").chmod(0o644)
    assert refusal().startswith("there is no docker command on this machine; ")


def test_an_engine_that_is_not_running_is_told_how_to_start(docker: FakeDocker) -> None:
    docker.fails("version", f"\n{DAEMON}\n")
    assert refusal() == f"the Docker engine does not answer ({DAEMON}); start it: sudo systemctl start docker"


def test_an_engine_that_does_not_let_the_user_in_is_told_how_to(docker: FakeDocker) -> None:
    docker.fails("version", f"a warning before\n{DENIED}")
    assert refusal() == (
        f"the Docker engine does not let you in ({DENIED}); "
        "use sudo, or let an administrator add you to the group docker (usermod -aG docker NAME) and log in again"
    )


def test_an_engine_that_never_answers_is_waited_for_so_long(
    docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    docker.does("version", "exec sleep 60")
    with pytest.raises(LauncherError, match=r"^docker version --format gave no answer for 0\.2 s$"):
        Docker.find()


def test_an_engine_of_the_user_alone_is_rootless(docker: FakeDocker) -> None:
    docker.prints("info", '["name=seccomp,profile=builtin","name=rootless"]')
    assert Docker.find().rootless


def test_an_engine_that_does_not_tell_its_options_is_not_rootless(docker: FakeDocker) -> None:
    docker.fails("info", "no")
    assert not Docker.find().rootless


# Compose


NO_PLUGIN = 'case "$program" in docker) echo "docker: no such command: compose" >&2; exit 1 ;; esac; echo 1.29.2'


def test_docker_compose_1_is_taken_where_there_is_no_plugin(docker: FakeDocker) -> None:
    docker.does("compose version", NO_PLUGIN)
    docker.program("docker-compose")
    assert Docker.find().compose == ("docker-compose",)


def test_the_plugin_is_taken_where_there_are_both(docker: FakeDocker) -> None:
    docker.program("docker-compose")
    assert Docker.find().compose == ("docker", "compose")


@pytest.mark.parametrize("chosen", ["docker-compose", "docker compose", "  docker   compose "])
def test_compose_of_the_environment_is_the_users_choice(
    docker: FakeDocker, monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    docker.program("docker-compose")
    monkeypatch.setenv("COMPOSE", chosen)
    assert Docker.find().compose == tuple(chosen.split())


def test_without_any_compose_the_sentence_says_what_to_install(docker: FakeDocker) -> None:
    docker.does("compose version", NO_PLUGIN)
    assert refusal() == f"neither docker compose nor docker-compose is on this machine; {INSTALL}"


@pytest.mark.parametrize("chosen", ["podman-compose", "docker-compose", "docker composed", " ", "docker 'compose"])
def test_a_choice_that_does_not_run_is_refused_instead_of_another_one(
    docker: FakeDocker, monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    docker.fails("composed", "unknown command")
    docker.fails("'compose", "unknown command")
    monkeypatch.setenv("COMPOSE", chosen)
    assert refusal() == f"COMPOSE is {chosen!r}, which does not run; use 'docker compose' or docker-compose"


@pytest.mark.usefixtures("docker")
def test_an_empty_choice_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE", "")
    assert Docker.find().compose == ("docker", "compose")


# Containers


@pytest.fixture
def engine() -> Docker:
    return Docker(("docker", "compose"), rootless=False)


def test_containers_are_told_by_the_task_that_each_runs(docker: FakeDocker, engine: Docker) -> None:
    docker.container("worker:0", "running", place="containers", started=3)
    docker.container("ps:1", "exited", 137, place="containers", started=4, starved=True, memory=1 << 30)
    assert engine.containers("mine") == {
        Task("worker", 0): Container("worker-0", "running", 0, "2026-01-01T00:00:03.5Z"),
        Task("ps", 1): Container("ps-1", "exited", 137, "2026-01-01T00:00:04.5Z", out_of_memory=True, memory=1 << 30),
    }
    (listed,) = docker.asked("container", "ls")
    assert listed == "docker container ls --all --quiet --filter label=com.docker.compose.project=mine"


def test_where_there_is_no_container_none_is_asked_about(docker: FakeDocker, engine: Docker) -> None:
    assert engine.containers("mine") == {}
    assert not docker.asked("inspect")


def test_a_container_that_is_removed_between_two_questions_hides_no_other(docker: FakeDocker, engine: Docker) -> None:
    docker.container("worker:0", place="containers")
    docker.does("container ls", "echo worker-0 gone")
    docker.does(
        "container inspect", "printf '['; cat containers/worker-0; echo ']'; echo 'no such container' >&2; exit 1"
    )
    assert list(engine.containers("mine")) == [Task("worker", 0)]
    docker.does("container inspect", "echo '[]'; echo 'no such container' >&2; exit 1")
    assert engine.containers("mine") == {}


def test_an_engine_that_stops_answering_is_named_with_what_it_was_asked(docker: FakeDocker, engine: Docker) -> None:
    docker.fails("container ls", f"warning\n{DAEMON}")
    with pytest.raises(LauncherError) as caught:
        engine.containers("mine")
    assert str(caught.value) == f"the Docker engine does not answer docker container ls: {DAEMON}"
    assert caught.value.exit_code == 1
    docker.remove_program("docker")
    with pytest.raises(
        LauncherError, match=r"does not answer docker container ls: there is no docker command any more$"
    ):
        engine.containers("mine")


def test_a_container_is_started_again(docker: FakeDocker, engine: Docker) -> None:
    docker.does("container start", ":")
    engine.start(CONTAINER)
    assert docker.calls == ["docker container start abc"]


def test_a_container_that_still_runs_is_killed_and_waited_for_before(docker: FakeDocker, engine: Docker) -> None:
    for what in ("container kill", "container wait", "container start"):
        docker.does(what, ":")
    engine.start(CONTAINER, kill=True)
    assert docker.calls == [f"docker container {what} abc" for what in ("kill", "wait", "start")]


def test_a_container_that_does_not_start_again_is_for_the_next_look(docker: FakeDocker, engine: Docker) -> None:
    docker.fails("container start", "no such container")
    engine.start(CONTAINER)


def test_everything_of_a_project_is_removed_and_volumes_and_containers_by_force(
    docker: FakeDocker, engine: Docker
) -> None:
    docker.container("worker:0", place="containers")
    docker.container("worker:1", "running", place="containers")
    (docker.world / "networks" / "net").touch()
    assert engine.remove("mine") == []
    assert docker.left() == []
    assert [call for call in docker.calls if " rm " in call] == [
        "docker container rm --force worker-0 worker-1", "docker network rm net",
    ]  # fmt: skip


def test_what_cannot_be_removed_is_returned_by_kind_and_name(docker: FakeDocker, engine: Docker) -> None:
    (docker.world / "networks" / "1f3a").touch()
    docker.fails("network rm", "network has active endpoints")
    docker.does("volume ls", "echo data")
    docker.fails("volume rm", "volume is in use")
    assert engine.remove("mine") == ["network 1f3a", "volume data"]


def test_events_and_logs_are_asked_of_the_project_and_of_a_time() -> None:
    engine = Docker(("docker-compose",), rootless=True)
    assert " ".join(engine.events("mine")) == (
        "docker events --filter=type=container --filter=label=com.docker.compose.project=mine "
        "--filter=event=start --filter=event=die --filter=event=destroy"
    )
    assert " ".join(engine.logs(CONTAINER, "")) == "docker container logs --follow --timestamps abc"
    assert engine.logs(CONTAINER, "2026")[-3:] == ("--since", "2026", "abc")


def test_the_last_lines_are_without_empty_ones() -> None:
    assert last_lines("a\n\nb  \n \nc\n\n", 2) == "b\nc"
    assert last_lines("", 2) == ""
    assert last_lines("a", 5) == "a"
