"""The rendered text: what compose reads in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launcher.engines.compose.containers import containerised, inside
from launcher.engines.compose.file import _mapping, compose, plan_beside
from launcher.errors import UsageError
from launcher.host.inventory import Inventory
from launcher.plan.placement import place_file
from launcher.spec.file import load
from tests.examples import examples
from tests.unit.engines.compose.made import in_containers, machine_with, read, render, write

ROOT = Path(__file__).parents[4]
COMMITTED = Path("docker/compose.yaml")
RENDER_AGAIN = f"taskset --cpu-list 0,1 .venv/bin/launcher render compose --output {COMMITTED}"


def services(text: str) -> dict[str, Any]:
    found: dict[str, Any] = read(text)["services"]
    return found


def service(path: Path, machine: Inventory | None = None) -> dict[str, Any]:
    """Return the first service of a cluster file."""
    return next(iter(services(render(path, machine)).values()))


# The committed file


def test_the_committed_file_is_what_the_committed_cluster_file_renders_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path, machine = Path("cluster.yaml"), machine_with((0, 1))
    rendered, plan = render(path, machine, output=COMMITTED), inside(in_containers(path, machine)).to_dict()
    stale = f"{COMMITTED} is stale; render it again: {RENDER_AGAIN}"
    assert COMMITTED.read_text(encoding="utf-8") == rendered, stale
    assert json.loads(plan_beside(COMMITTED).read_text(encoding="utf-8")) == json.loads(json.dumps(plan)), stale


# A service for each task


def test_merge_keys_give_each_service_all_that_they_share(tmp_path: Path) -> None:
    found = services(render(write(tmp_path, mode="async", worker=2, ps=1, evaluator=1)))
    assert list(found) == ["chief-0", "worker-0", "worker-1", "ps-0", "evaluator-0"]
    for task, mine in found.items():
        assert {
            "image", "build", "user", "environment", "volumes", "networks", "restart", "stop_grace_period",
            "security_opt", "command", "labels",
        } <= set(mine)  # fmt: skip
        assert mine["command"] == ["run", "--plan", "/plan.json", "--task", task.replace("-", ":")]


def test_only_the_tasks_that_start_have_a_service(tmp_path: Path) -> None:
    assert list(services(render(write(tmp_path, worker=2, ps=3)))) == ["worker-0", "worker-1"]


def test_the_file_is_for_both_composes_and_opens_no_port(tmp_path: Path) -> None:
    found = read(render(write(tmp_path, worker={"tasks": 2, "port": 3000})))
    assert set(found) == {"x-task", "services", "networks"}  # docker compose 2 warns of a version
    assert found["networks"] == {"cluster": {"internal": False}}
    for mine in found["services"].values():
        assert mine["networks"] == ["cluster"]
        assert not {"ports", "expose", "network_mode", "privileged", "links", "container_name"} & set(mine)


def test_a_task_is_found_by_its_labels(tmp_path: Path) -> None:
    text = render(write(tmp_path, worker=2))
    assert [mine["labels"] for mine in services(text).values()] == [
        {"launcher.run": "demo", "launcher.task": "worker:0"},
        {"launcher.run": "demo", "launcher.task": "worker:1"},
    ]
    named = read(text, {"LAUNCHER_RUN": "night"})["services"]["worker-1"]
    assert named["labels"] == {"launcher.run": "night", "launcher.task": "worker:1"}
    assert named["environment"]["LAUNCHER_RUN"] == "night"


def test_tasks_run_as_the_user_who_starts_them_and_never_as_root_unless_asked(tmp_path: Path) -> None:
    text = render(write(tmp_path, worker=1))
    assert services(text)["worker-0"]["user"] == "1000:1000"
    assert read(text, {"LAUNCHER_USER": "1234:5"})["services"]["worker-0"]["user"] == "1234:5"
    assert services(text)["worker-0"]["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize(("restarts", "policy"), [(0, "no"), (1, "on-failure:1"), (3, "on-failure:3")])
def test_the_engine_starts_again_as_often_as_the_run_may(tmp_path: Path, restarts: int, policy: str) -> None:
    assert service(write(tmp_path, run={"restarts": restarts}, worker=1))["restart"] == policy


def test_the_network_is_closed_to_the_outside_if_the_section_says_so(tmp_path: Path) -> None:
    found = read(render(write(tmp_path, worker=1), internal=True))
    assert found["networks"] == {"cluster": {"internal": True}}


# Devices


def test_cores_become_the_cpuset_of_each_task(tmp_path: Path) -> None:
    text = render(write(tmp_path, worker={"tasks": 2, "cpus": 2}, evaluator=1), machine_with((0, 2, 4, 6, 8, 9)))
    assert [mine["cpuset"] for mine in services(text).values()] == ["0,2", "4,6", "8,9"]


def test_a_task_that_is_not_pinned_has_no_cpuset(tmp_path: Path) -> None:
    assert "cpuset" not in service(write(tmp_path, worker=1))


@pytest.mark.parametrize(("there", "ids"), [(2, [["0"], ["1"]]), (4, [["0", "1"], ["2", "3"]])])
def test_gpus_become_devices_by_their_number_on_this_machine(tmp_path: Path, there: int, ids: list[list[str]]) -> None:
    found = services(render(write(tmp_path, worker=2), machine_with(gpus=there)))
    for mine, expected in zip(found.values(), ids, strict=True):
        (device,) = mine["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "device_ids": expected, "capabilities": ["gpu"]}
        assert (mine["image"], mine["build"]["args"]["TENSORFLOW"]) == ("launcher:gpu", "gpu")


def test_numbers_of_gpus_are_texts_since_compose_takes_a_number_for_a_count(tmp_path: Path) -> None:
    text = render(write(tmp_path, worker={"gpus": [3]}), machine_with(gpus=4))
    assert 'device_ids: ["3"]' in text


def test_several_gpus_of_one_task_get_the_shared_memory_that_nccl_needs(tmp_path: Path) -> None:
    path = write(tmp_path, worker=2, evaluator=1)
    sizes = {gpus: [mine.get("shm_size") for mine in services(render(path, machine_with(gpus=gpus))).values()]
             for gpus in (0, 2, 4, 8)}  # fmt: skip
    assert sizes == {0: [None] * 3, 2: [None] * 3, 4: ["1gb", "1gb", None], 8: ["1gb", "1gb", None]}


def test_without_gpus_the_image_is_the_small_one(tmp_path: Path) -> None:
    mine = service(write(tmp_path, worker={"tasks": 2, "gpus": 0}), machine_with(gpus=8))
    assert (mine["image"], mine["build"]["args"]["TENSORFLOW"]) == ("launcher:cpu", "cpu")
    assert "deploy" not in mine


# The image


def test_the_build_takes_base_image_and_network_of_the_environment(tmp_path: Path) -> None:
    text = render(write(tmp_path, worker=1))
    build = services(text)["worker-0"]["build"]
    assert (build["network"], build["args"]["BASE_IMAGE"]) == ("default", "python:3.12-slim")
    build = read(text, {"BASE_IMAGE": "mirror/python:3.11", "BUILD_NETWORK": "host"})["services"]["worker-0"]["build"]
    assert (build["network"], build["args"]["BASE_IMAGE"]) == ("host", "mirror/python:3.11")
    assert (Path(build["context"]) / build["dockerfile"]).samefile(ROOT / "docker" / "Dockerfile")


# Paths


def volumes(mine: dict[str, Any]) -> list[tuple[str, str, bool]]:
    assert all(volume["type"] == "bind" for volume in mine["volumes"])
    return [(volume["source"], volume["target"], volume.get("read_only", False)) for volume in mine["volumes"]]


def test_without_an_output_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, run={"output": "out/all"}, worker=1).parent)
    mine = service(Path("cluster.yaml"))
    assert volumes(mine) == [
        (str(tmp_path), "/cluster", True),
        (f"{tmp_path}/out/all", "/runs", False),
        (f"{tmp_path}/compose.plan.json", "/plan.json", True),
    ]
    assert mine["build"]["context"] == str(ROOT)


@pytest.mark.parametrize(
    ("output", "directory", "runs"),
    [
        ("compose.yaml", ".", "./runs"),
        ("deep/er/compose.yaml", "../..", "../../runs"),
        ("../compose.yaml", "./here", "./here/runs"),
    ],
)
def test_with_an_output_paths_are_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, directory: str, runs: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(write(tmp_path / "here", worker=1).parent)
    mine = services(render(Path("cluster.yaml"), output=Path(output)))["worker-0"]
    plan = ("./compose.plan.json", "/plan.json", True)
    assert volumes(mine) == [(directory, "/cluster", True), (runs, "/runs", False), plan]
    assert ((tmp_path / "here" / output).parent / mine["build"]["context"]).resolve() == ROOT


def test_a_path_with_dollars_quotes_and_colons_stays_one(tmp_path: Path) -> None:
    odd = tmp_path / 'it\'s $HOME: "a #b" ${x} é🎉'
    odd.mkdir()
    mine = service(write(odd, worker=1))
    assert volumes(mine)[:2] == [(str(odd), "/cluster", True), (f"{odd}/runs", "/runs", False)]


def test_the_runs_may_be_elsewhere(tmp_path: Path) -> None:
    path, runs = write(tmp_path, worker=1), tmp_path / "elsewhere"
    plan = in_containers(path, machine_with())
    text = compose(plan, runs / "night" / "compose.yaml", source=path, relative=False, runs=runs)
    assert volumes(services(text)["worker-0"]) == [
        (str(tmp_path), "/cluster", True),
        (str(runs), "/runs", False),
        (f"{runs}/night/compose.plan.json", "/plan.json", True),
    ]


# The head


def test_the_head_says_where_the_file_comes_from_and_how_to_start_it_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write(tmp_path, mode="async", worker=1, ps=1).parent)
    head = [line for line in render(Path("cluster.yaml"), output=Path("compose.yaml")).splitlines() if line[:1] == "#"]
    up = "docker compose --file compose.yaml up --build --exit-code-from chief-0"
    assert head == [
        "# Rendered from cluster.yaml by `launcher render compose`: change that file and render again.",
        "# `launcher run --on compose` does all of it. By hand, runs must be there and yours:",
        f"#   mkdir -p runs && LAUNCHER_USER=$(id -u):$(id -g) {up}",
    ]


def test_without_an_output_the_head_knows_no_command(tmp_path: Path) -> None:
    path = write(tmp_path, worker=1).rename(tmp_path / "my.yaml")
    head = [line for line in render(path).splitlines() if line[:1] == "#"]
    assert head == ["# Rendered from my.yaml by `launcher render compose my.yaml`: change that file and render again."]


def test_the_text_is_the_same_for_the_same_input_and_ends_with_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, mode="async", worker=3, ps=2)
    assert render(path) == render(path)
    assert render(path).endswith("internal: false\n")


def test_a_hundred_tasks_are_rendered(tmp_path: Path) -> None:
    path = write(tmp_path, worker=100)
    plan = containerised(
        place_file(load(path), Inventory("invented", machine_with().cores, ports=tuple(range(5000, 5200))))
    )
    text = compose(plan, tmp_path / "compose.yaml", source=path, relative=False)
    assert len(yaml.safe_load(text)["services"]) == 100


# Names that are nasty


NASTY = [
    "a\nb: {c",
    "a\r\n# x",
    "a: b",
    "a #b",
    "'\"\\",
    "$HOME${X}",
    "\x1b[2J",
    "\u2028\x85\u202e",
    "- a",
    "%",
    "~",
    "é日本",
    ".inf",
    ".5",
    "08",
    "12:30",
]


@pytest.mark.parametrize("name", NASTY)
def test_no_name_changes_what_a_reader_finds_in_the_file(name: str, tmp_path: Path) -> None:
    plainly, nasty = tmp_path / "plain", tmp_path / name
    keys = []
    for directory in (plainly, nasty):
        directory.mkdir()
        path = write(directory, worker={"tasks": 1, "env": {"A": name}}).rename(directory / f"{name}.yaml")
        plan = in_containers(path, machine_with())
        for output in (None, directory / f"{name}.out.yaml"):
            place = output or directory / "compose.yaml"
            text = compose(plan, place, source=path, relative=output is not None)
            found = read(text)
            assert len(text.splitlines()) == len(text.split("\n")) - 1
            keys.append((list(found), list(found["services"]), sorted(services(text)["worker-0"])))
        sources = [volume["source"] for volume in services(render(path))["worker-0"]["volumes"]]
        assert sources[0] == str(directory)
        assert json.loads(json.dumps(inside(plan).to_dict()))["spec"]["cluster"]["worker"]["env"]["A"] == name
    assert keys[:2] == keys[2:]


@examples(200)
@given(
    st.lists(
        st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1
    )
)
def test_what_goes_into_the_file_comes_out_of_it(texts: list[str]) -> None:
    values = {"image": "x", "command": texts, "labels": {f"n{number}": text for number, text in enumerate(texts)}}
    service = read("\n".join(["services:", "  a:", *_mapping(values, 2)]))["services"]["a"]
    assert service == {"image": "x", "command": texts, "labels": values["labels"]}


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "a\udce9"
    directory.mkdir()
    with pytest.raises(UsageError, match="is not UTF-8"):
        render(write(directory, worker=1))
