"""A plan moved into containers, what their launchers are told of it, and what cannot be moved there."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.contract.task import Task
from launcher.engines.compose.containers import containerised, inside, plan_containers, refuse_what_containers_cannot
from launcher.errors import SpecError
from launcher.spec.file import load
from tests.unit.engines.compose.made import in_containers, machine_with, outside, write

# Containerised


def test_each_task_is_called_by_the_name_of_its_service(tmp_path: Path) -> None:
    plan = in_containers(write(tmp_path, mode="async", worker=2, ps=1, evaluator=1), machine_with())
    assert {str(task.task): task.address for task in plan.tasks} == {
        "chief:0": "chief-0:2222",
        "worker:0": "worker-0:2222",
        "worker:1": "worker-1:2222",
        "ps:0": "ps-0:2222",
        "evaluator:0": "evaluator-0:2222",
    }
    assert plan.cluster == {
        "chief": ("chief-0:2222",), "worker": ("worker-0:2222", "worker-1:2222"), "ps": ("ps-0:2222",),
    }  # fmt: skip
    assert plan.rendezvous == "chief-0:2223"


def test_a_port_that_is_written_is_that_of_every_container_of_its_job(tmp_path: Path) -> None:
    plan = in_containers(write(tmp_path, chief=1, worker={"tasks": 2, "port": 3000}), machine_with())
    assert [task.address for task in plan.tasks] == ["chief-0:2222", "worker-0:3000", "worker-1:3000"]


def test_addresses_of_this_machine_give_way_to_the_names_of_services(tmp_path: Path) -> None:
    plan = in_containers(write(tmp_path, worker=["localhost:7000", "127.0.0.1:7001"]), machine_with())
    assert [task.address for task in plan.tasks] == ["worker-0:2222", "worker-1:2222"]
    assert plan.rendezvous == "worker-0:2223"


def test_one_task_that_trains_alone_meets_nobody_in_a_container_either(tmp_path: Path) -> None:
    plan = in_containers(write(tmp_path, worker=1, ps=1), machine_with())
    assert (plan.rendezvous, plan.cluster, plan.strategy) == ("", {}, "OneDeviceStrategy")


def test_cores_and_gpus_are_numbered_as_this_machine_has_them(tmp_path: Path) -> None:
    path = write(tmp_path, worker={"tasks": 2, "cpus": 2, "gpus": [3, 0, 2, 1]})
    plan = in_containers(path, machine_with((4, 5, 6, 7), gpus=4))
    assert [(task.cores, task.gpus) for task in plan.tasks] == [((4, 5), (3, 0)), ((6, 7), (2, 1))]
    # Inside, the engine shows each container no other GPUs than its own.
    assert [(task.environment or {})["CUDA_VISIBLE_DEVICES"] for task in plan.tasks] == ["0,1", "0,1"]


def test_idle_tasks_stay_idle_with_their_reason(tmp_path: Path) -> None:
    path = write(tmp_path, worker=2, ps=2)
    assert in_containers(path, machine_with()).idle == outside(path, machine_with()).idle


def test_the_plan_of_the_processes_is_left_as_it_was(tmp_path: Path) -> None:
    plan = outside(write(tmp_path, worker=2, ps=1), machine_with())
    before = plan.to_dict()
    containerised(plan)
    assert plan.to_dict() == before


# Inside


def test_the_launchers_inside_read_the_plan_with_paths_and_gpus_as_they_see_them(tmp_path: Path) -> None:
    path = write(tmp_path, run={"on": "compose", "output": "out"}, worker={"tasks": 2, "gpus": [3, 0, 2, 1]})
    plan = in_containers(path, machine_with(gpus=4))
    seen = inside(plan)
    assert (seen.directory, seen.spec.run.output) == ("/cluster", "/runs")
    assert seen.spec.run.on == "local"  # a launcher that starts its task as a process
    assert [task.gpus for task in seen.tasks] == [(0, 1), (0, 1)]
    assert [task.gpus for task in plan.tasks] == [(3, 0), (2, 1)]
    assert seen.tasks[0].address == "worker-0:2222"


def test_an_added_chief_has_an_address_like_the_others(tmp_path: Path) -> None:
    plan = in_containers(write(tmp_path, mode="async", worker=1, ps=1), machine_with())
    assert plan.spec.cluster.chief is not None
    assert plan.spec.cluster.chief.addresses == ("chief-0:2222",)


def test_what_does_not_start_has_no_tasks_in_the_containers_cluster(tmp_path: Path) -> None:
    plan = in_containers(write(tmp_path, worker=1, ps=3), machine_with())
    assert plan.spec.cluster.ps is not None
    assert plan.spec.cluster.ps.tasks == 0


def test_threads_are_counted_by_the_cores_that_are_meant_for_a_task(tmp_path: Path) -> None:
    plan = in_containers(write(tmp_path, worker={"cpus": 2}, evaluator=1), machine_with(range(3)))
    assert [(task.environment or {})["TF_NUM_INTRAOP_THREADS"] for task in plan.tasks] == ["2", "1"]


def test_threads_that_the_user_chose_are_kept(tmp_path: Path) -> None:
    plan = in_containers(write(tmp_path, worker={"env": {"OMP_NUM_THREADS": 9}}), machine_with())
    assert (plan.tasks[0].environment or {})["OMP_NUM_THREADS"] == "9"


# Refused


def refused(path: Path, *overrides: str) -> list[str]:
    """Return the problems that containers have with a file, without the path of the file."""
    with pytest.raises(SpecError) as caught:
        refuse_what_containers_cannot(load(path, overrides))
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def accepted(path: Path, *overrides: str) -> None:
    refuse_what_containers_cannot(load(path, overrides))


def write_lines(directory: Path, **content: Any) -> Path:
    """Write a file of these keys, a line each."""
    path = directory / "cluster.yaml"
    lines = {"job": "hello", "cluster": {"worker": 2}} | content
    path.write_text("".join(f"{key}: {yaml.safe_dump(value, default_flow_style=True, width=9999)}".replace("\n...", "")
                            for key, value in lines.items()))  # fmt: skip
    return path


def test_real_machines_are_refused_once_for_each_job(tmp_path: Path) -> None:
    cluster = {"worker": ["node-a:2222", "node-b:2222"], "ps": ["node-c:1"]}
    worker, ps = refused(write_lines(tmp_path, mode="async", cluster=cluster))
    assert worker == (
        "cluster.yaml:2: cluster.worker.addresses: node-a:2222 is a real machine, and a container gets a name of its "
        "own (worker-0); write worker: 2 for containers, or start each machine's part with launcher run --host"
    )
    assert ps == (
        "cluster.yaml:2: cluster.ps.addresses: node-c:1 is a real machine, and a container gets a name of its "
        "own (ps-0); write ps: 1 for containers, or start each machine's part with launcher run --host"
    )


def test_addresses_of_this_machine_are_accepted(tmp_path: Path) -> None:
    accepted(write_lines(tmp_path, cluster={"worker": ["localhost:1", "127.0.0.1:2", "[::1]:3"]}))


def test_a_job_outside_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "train.py").touch()
    path = write_lines(tmp_path / "here", job="../train.py")
    assert refused(path) == [
        f"cluster.yaml:1: job: is at {path.parent}/../train.py, which containers do not see; "
        f"move it below {path.parent}".replace(f"{path.parent}/", "")
    ]


def test_a_link_that_leads_outside_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "train.py").touch()
    (tmp_path / "here" / "train.py").symlink_to(tmp_path / "train.py")
    (problem,) = refused(write_lines(tmp_path / "here", job="train.py"))
    assert problem.startswith("cluster.yaml:1: job: is at train.py, which containers do not see; move it below ")


@pytest.mark.parametrize(
    ("job", "place"),
    [("elsewhere.train", "elsewhere/__init__.py"), ("spaces.train", "spaces"), ("mine", "jobs/mine.py")],
)
def test_a_module_outside_the_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, place: str
) -> None:
    for file in ("elsewhere/__init__.py", "elsewhere/train.py", "spaces/train.py", "jobs/mine.py"):
        (tmp_path / "library" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "library" / file).touch()
    (tmp_path / "here").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "library")
    (problem,) = refused(write_lines(tmp_path / "here", job=job))
    assert problem == (
        f"cluster.yaml:1: job: is at {tmp_path}/library/{place}, which containers do not see; "
        f"move it below {tmp_path}/here"
    )


def test_a_module_that_only_an_editable_install_finds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, here = tmp_path / "source" / "installed.py", tmp_path / "here"
    here.mkdir()

    class Finder:
        """What pip puts on sys.meta_path for an editable install."""

        @staticmethod
        def find_spec(name: str, *_: object) -> ModuleSpec | None:
            return spec_from_file_location(name, source) if name == "installed" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    (problem,) = refused(write_lines(here, job="installed.train"))
    assert problem == (f"cluster.yaml:1: job: is at {source}, which containers do not see; move it below {here}")


@pytest.mark.parametrize("key", ["job", "args.data"])
def test_an_absolute_path_is_refused_even_below_the_directory(tmp_path: Path, key: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "train.py").touch()
    path, there = write_lines(tmp_path), tmp_path / "sub" / "train.py"
    with pytest.raises(SpecError) as caught:
        refuse_what_containers_cannot(load(path, [f"{key}={there}"]))
    why = f"{there} is elsewhere inside a container; write sub/train.py"
    assert str(caught.value) == f"--set {key}={there}: {key}: {why}"


@pytest.mark.parametrize(
    ("job", "file"),
    [
        ("hello", "cluster.yaml"),  # bundled: it is in the image
        ("linear_regression", "cluster.yaml"),
        ("jobs.hello", "cluster.yaml"),
        ("train.py", "train.py"),
        ("sub/train.py", "sub/train.py"),
        ("mine.train", "mine/train.py"),
        ("own", "jobs/own.py"),
        ("nowhere.train", "cluster.yaml"),  # which check_job says better
    ],
)
def test_a_job_that_containers_see_is_accepted(tmp_path: Path, job: str, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    accepted(write_lines(tmp_path, job=job))


def test_a_path_outside_the_directory_is_refused_however_deep_in_the_args(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "data.csv").touch()
    path = write_lines(tmp_path / "here", args={"data": "../data.csv", "more": {"files": ["x", str(tmp_path)]}})
    with pytest.raises(SpecError) as caught:
        refuse_what_containers_cannot(load(path))
    where = path.parent
    assert str(caught.value).splitlines() == [
        f"{path}:3: args.data: ../data.csv is outside {where}, which is all that containers see; put it there",
        f"{path}:3: args.more.files.1: {tmp_path} is outside {where}, which is all that containers see; put it there",
    ]


@pytest.mark.parametrize(
    "value", ["data/x.csv", "./data/x.csv", "../none.csv", "a/b", "https://example.org/x", "/\0", "x" * 5000 + "/", 3]
)
def test_a_text_that_is_no_path_outside_the_directory_is_accepted(tmp_path: Path, value: object) -> None:
    (tmp_path / "here" / "data").mkdir(parents=True)
    (tmp_path / "here" / "data" / "x.csv").touch()
    path = write_lines(tmp_path / "here", args={"text": "x"})
    file = load(path)
    file.spec.__dict__["args"] = {"text": value}  # a zero byte does not come through YAML
    refuse_what_containers_cannot(file)


def test_everything_is_refused_at_once_and_each_names_where_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "train.py").touch()
    path = write_lines(tmp_path / "here", args={"data": "x"})
    found = refused(path, "job=../train.py", "args.data=../train.py", "cluster.worker=[node-a:1]")
    assert [line.partition(": ")[0] for line in found] == [
        "--set cluster.worker=[node-a:1]", "--set job=../train.py", "--set args.data=../train.py",
    ]  # fmt: skip
    assert Task("worker", 0).slug in found[0]


def test_two_tasks_on_one_gpu_are_refused_since_a_container_knows_its_own_alone(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("job: hello\ncluster:\n  worker:\n    tasks: 2\n    gpu_memory: 100\n    gpus: [0]\n")
    with pytest.raises(SpecError) as caught:
        plan_containers(load(path), machine_with(gpus=1))
    message = "worker:0 and worker:1 share GPU 0; in containers each task needs a GPU of its own"
    assert str(caught.value) == f"{path}:6: cluster.worker.gpus: {message}"


def test_what_this_host_has_not_is_refused_for_containers_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("job: hello\ncluster:\n  worker: {tasks: 2, gpus: 0}\n  evaluator: {cpus: 3}\n")
    with pytest.raises(SpecError) as caught:
        plan_containers(load(path), machine_with((0, 1)))
    assert str(caught.value) == f"{path}:4: cluster.evaluator.cpus: evaluator asks for 3 cores; this machine has 2"
