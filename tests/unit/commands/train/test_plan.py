from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from launcher.commands.train import plan as module
from launcher.commands.train.plan import command
from launcher.engines.local.network.way_out import NOT_INSTALLED
from launcher.errors import LauncherError
from launcher.host.inventory import Core, Inventory, Memory
from tests.unit.plan.machines import machine

SHARE = "write fewer tasks, or let them share one: gpus: [0] with gpu_memory"
FILE = 'job: hello\nname: demo\ncluster: {worker: {tasks: 2, gpus: 0, env: {MINE: "it\'s $HOME"}}, ps: 3}\n'
WRITTEN = ("--set", "cluster.worker.addresses=[127.0.0.1:2222, 127.0.0.1:2223]")


@pytest.fixture(autouse=True)
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cluster.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def columns(text: str) -> dict[str, list[str]]:
    lines = text.split("\n\n")[1].splitlines()
    return {line.split()[0]: line.split("  ") for line in lines}


def test_the_table_has_a_line_for_each_task_that_starts() -> None:
    output = call().output
    assert output.startswith("demo: sync, job hello\n\ntask ")
    assert list(columns(output)) == ["task", "worker:0", "worker:1"]
    assert "  any core  MultiWorkerMirroredStrategy\n" in output


def test_what_does_not_start_is_named_with_its_reason() -> None:
    assert "not started  ps:0-2: sync mode starts no ps: " in call().output


def test_strategy_communication_and_gpus_are_explained() -> None:
    output = call().output
    assert "MultiWorkerMirroredStrategy: 2 tasks take each step together; RING over gRPC" in output
    assert "\nGPUs         none (" in output


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        (["pasta", "slirp4netns"], "the tasks' network is their own, and lets connections out through pasta; launcher"),
        (["slirp4netns"], "the tasks' network is their own, and lets connections out through slirp4netns; launcher"),
        (
            [],
            f"the tasks' network reaches nothing outside: {NOT_INSTALLED}; install one, or --set run.network=host, if",
        ),
    ],
)
def test_what_leads_out_of_a_private_network_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: list[str], said: str
) -> None:
    for name in installed:
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert f"\nnetwork      {said} " in call().output


@pytest.mark.parametrize("override", ["run.network=host", "cluster.worker=1", WRITTEN[1]])
def test_of_the_hosts_network_nothing_is_said(override: str) -> None:
    assert "\nnetwork" not in call("--set", override).output


@pytest.mark.parametrize(
    ("internal", "said"), [("false", "lets connections out"), ("true", "reaches no other machine")]
)
def test_of_containers_it_is_said_whether_their_network_is_closed(internal: str, said: str) -> None:
    output = call("--on", "compose", "--set", f"compose.internal={internal}").output
    assert f"\nnetwork      one of the containers' own, with no published port; it {said}" in output


def test_no_cell_is_cut_however_narrow_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    host = "a-very-long-host-name-of-a-machine-in-some-data-centre.example.org"
    output = call("--set", f"cluster.worker=[{host}:2222, {host}:2223]", "--set", "cluster.ps=0").output
    assert f"\nworker:1  {host}:2223  train  " in output


def test_several_machines_are_named_with_what_to_call_on_each() -> None:
    output = call("--set", "cluster.worker=[a:1, b:1]", "--set", "cluster.ps=0").output
    start = "each starts its part: launcher run --host a"
    assert f"machines     a, b, drawn as if each were like this one; {start}" in output


def test_json_is_the_plan() -> None:
    value = json.loads(call("--json", "--set", "mode=async").output)
    assert value["strategy"] == "ParameterServerStrategy"
    assert [task["task"] for task in value["tasks"]] == ["chief:0", "worker:0", "worker:1", "ps:0", "ps:1", "ps:2"]


def test_a_task_s_environment_can_be_pasted_into_a_shell() -> None:
    output = call(*WRITTEN, "--task", "worker:1").output
    script = f'{output}\nprintf \'%s\\n\' "$MINE" "$TF_CONFIG" "$LAUNCHER_TASK"\n'
    mine, config, context = subprocess.check_output(["sh", "-c", script], text=True).splitlines()
    assert mine == "it's $HOME"
    assert json.loads(config)["task"] == {"type": "worker", "index": 1}
    assert json.loads(context)["task"] == "worker:1"


def test_two_calls_name_the_same_ports_or_refuse_and_print_lines_that_mend_it(tmp_path: Path) -> None:
    for mode in ("sync", "async"):
        with pytest.raises(LauncherError, match="needs addresses in the cluster file") as caught:
            call("--task", "worker:1", "--set", f"mode={mode}")
        lines = str(caught.value).partition("\n")[2]
        written = tmp_path / f"{mode}.yaml"
        written.write_text(f"job: hello\nmode: {mode}\n{lines}\n")
        clusters = []
        for task in ("worker:0", "worker:1"):
            variables = json.loads(call(str(written), "--task", task, "--json").output)
            context = json.loads(variables["LAUNCHER_TASK"])
            assert variables["MINE"] == "it's $HOME"
            clusters.append((json.loads(variables["TF_CONFIG"])["cluster"], context["rendezvous"]))
        assert clusters[0] == clusters[1]


@pytest.mark.parametrize(
    "overrides",
    [
        ("cluster.worker.port=2222",),  # and the rendezvous?
        ("mode=async", "cluster.worker.addresses=[127.0.0.1:2222, 127.0.0.1:2223]"),  # and ps?
    ],
)
def test_what_is_written_only_in_part_is_refused(overrides: tuple[str, ...]) -> None:
    arguments = [word for override in overrides for word in ("--set", override)]
    with pytest.raises(LauncherError, match="needs addresses in the cluster file"):
        call("--task", "worker:1", *arguments)


def test_a_task_that_meets_nobody_and_a_container_have_no_ports_that_change() -> None:
    alone = call("--task", "worker:0", "--json", "--set", "cluster.worker.tasks=1").output
    assert "LAUNCHER_TASK" in json.loads(alone)
    in_container = [call("--task", "worker:0", "--json", "--on", "compose").output for _ in range(2)]
    assert in_container[0] == in_container[1]


def test_a_task_s_environment_is_there_as_json_too() -> None:
    assert json.loads(call(*WRITTEN, "--task", "worker:0", "--json").output)["PYTHONUNBUFFERED"] == "1"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("wroker:1", "--task: the plan has no wroker:1; did you mean 'worker:1'?"),
        ("x:9", "--task: the plan has no x:9; tasks: worker:0, worker:1"),
        ("ps:0", "--task: ps:0 does not start: sync mode starts no ps"),
        ("worker", "--task: 'worker' is not a task; a task is written job:index, like worker:1"),
    ],
)
def test_a_task_that_is_not_there_gets_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(LauncherError) as caught:
        call("--task", name)
    assert str(caught.value).startswith(sentence)


def test_what_this_machine_cannot_give_names_the_line() -> None:
    with pytest.raises(
        LauncherError, match=r"^--set cluster\.worker\.cpus=999: cluster\.worker\.cpus: worker asks for"
    ):
        call("--set", "cluster.worker.cpus=999")


def test_notes_are_wrapped_where_a_person_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, module._wrapped("word " * 40))) + module._INDENT <= 60


def test_what_is_left_of_the_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    there = replace(machine(4, 2), core_note="a control group allows 2 of 8 cores")
    monkeypatch.setattr(module, "take", lambda _: there)
    output = call("--set", "cluster.worker.gpus=1").output
    assert "node-a  node 0  cores 0-1" in output
    assert "idle GPUs    2-3\n" in output
    assert "cores        a control group allows 2 of 8 cores\n" in output
    assert "GPUs         none" not in output


def notes(monkeypatch: pytest.MonkeyPatch, there: Inventory, *arguments: str) -> dict[str, str]:
    """Return what stands below the map."""
    monkeypatch.setattr(module, "take", lambda _: there)
    last = call(*arguments).output.split("\n\n")[-1]
    return {line[:13].strip(): line[13:] for line in last.splitlines()}


def test_tasks_that_need_more_memory_than_is_free_are_named_and_started_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = replace(machine(), memory=Memory(total=32 << 30, available=1 << 30, limit=2 << 30))
    said = notes(monkeypatch, there, "--set", "cluster.worker=6")["memory"]
    need = "6 tasks need about 1.1 GiB to start, with one import of TensorFlow for all"
    assert said == f"{need}; 1.0 GiB is free (limit of the control group: 2.0 GiB)"
    assert "memory" not in notes(monkeypatch, there, "--set", "cluster.worker=4")
    assert "memory" in notes(monkeypatch, there, "--set", "cluster.worker=4", "--set", "run.start_method=spawn")


GPU_LEFT_OUT = "GPU 1 left out: split by MIG (nvidia-smi --multi-instance-gpu 0 makes it whole)"


def test_a_machine_whose_gpus_and_cores_are_all_of_use_has_no_notes_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = notes(monkeypatch, machine(2), "--set", "cluster.worker.gpus=1")
    assert set(found) == {"not started", "strategy", "ports", "network"}


@pytest.mark.parametrize(("gpus", "idle"), [("0", "0-3"), ("[0, 2]", "1,3"), ("1", "2-3"), ("auto", None)])
def test_gpus_that_nobody_computes_on_are_named(monkeypatch: pytest.MonkeyPatch, gpus: str, idle: str | None) -> None:
    assert notes(monkeypatch, machine(4), "--set", f"cluster.worker.gpus={gpus}").get("idle GPUs") == idle


@pytest.mark.parametrize(
    ("there", "gpus", "said"),
    [
        (3, "auto", "2: gpus: auto divides evenly, here among 2 tasks"),
        (1, "auto", f"0: gpus: auto divides evenly, here among 2 tasks; {SHARE}"),
        (3, "1", "2"),
        (3, "0", "0-2"),
    ],
)
def test_idle_gpus_are_named_with_the_reason_where_nobody_asked_for_it(
    monkeypatch: pytest.MonkeyPatch, there: int, gpus: str, said: str
) -> None:
    assert notes(monkeypatch, machine(there), "--set", f"cluster.worker.gpus={gpus}")["idle GPUs"] == said


@pytest.mark.parametrize(
    ("gpus", "note", "said"),
    [
        (0, "no NVIDIA driver", "none (no NVIDIA driver)"),
        (0, "the NVIDIA driver does not answer: x", "none (the NVIDIA driver does not answer: x)"),
        (1, GPU_LEFT_OUT, GPU_LEFT_OUT),
        (0, GPU_LEFT_OUT, f"none ({GPU_LEFT_OUT})"),
    ],
)
def test_why_there_is_no_gpu_or_one_less_is_said(
    monkeypatch: pytest.MonkeyPatch, gpus: int, note: str, said: str
) -> None:
    assert notes(monkeypatch, replace(machine(gpus), gpu_note=note))["GPUs"] == said


def test_what_a_quota_takes_away_is_said_once_and_nothing_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    note = "a control group allows 2.5 of 8 cores"
    assert notes(monkeypatch, replace(machine(0, 2), core_note=note))["cores"] == note
    assert "cores" not in notes(monkeypatch, machine(0, 2))


def test_the_map_stands_between_the_table_and_the_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "take", lambda _: machine(0, 2))
    parts = call("--set", "cluster.worker.cpus=1").output.split("\n\n")
    assert [part.split()[0] for part in parts] == ["demo:", "task", "node-a", "not"]
    assert parts[2] == "node-a  node 0  core 0  worker:0\n                core 1  worker:1"


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["gpus=1", "cpus=2"], ["cores 0-1, GPU 0", "cores 2-3, GPU 1"]),
        (["gpus=2", "cpus=1"], ["core 0, GPUs 0-1", "core 1, GPUs 2-3"]),
        (["gpus=[3]", "gpu_memory=4000"], ["any core, GPU 3, 4000 MiB of it"] * 2),
        (["gpus=2", "gpu_memory=100"], [f"any core, GPUs {two}, 100 MiB of each" for two in ("0-1", "2-3")]),
        (
            ["gpus=2", "gpu_memory=100", "virtual_devices=3"],
            [f"any core, GPUs {two}, each as 3 devices of 100 MiB" for two in ("0-1", "2-3")],
        ),
    ],
)
def test_the_table_says_what_each_task_computes_on(
    monkeypatch: pytest.MonkeyPatch, sets: list[str], said: list[str]
) -> None:
    monkeypatch.setattr(module, "take", lambda _: machine(4))
    output = call(*(word for one in sets for word in ("--set", f"cluster.worker.{one}"))).output
    cells = columns(output)
    assert [cells[f"worker:{i}"][3] for i in range(2)] == said


def test_a_row_of_the_table_stays_readable_where_cores_alternate_between_sockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = replace(machine(4, 128, 2), cores=tuple(Core(number, number % 2) for number in range(128)))
    monkeypatch.setattr(module, "take", lambda _: there)
    cells = columns(call("--set", "cluster.worker={tasks: 2, gpus: 2, cpus: 32}").output)
    assert cells["worker:0"][3] == "cores 0…62 (32 of them), GPUs 0-1"


# On another engine


def test_the_plan_of_containers_has_their_names_and_is_drawn_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "take", lambda _: machine(cores=2))
    output = call("--on", "compose", "--set", "cluster.worker.cpus=1").output
    assert "\nworker:1  worker-1:2222  train  core 1" in output
    assert "\nmachines" not in output
    assert "node-a  node 0  core 0  worker:0\n" in output
    plan = json.loads(call("--on", "compose", "--json").output)
    assert plan["rendezvous"] == "worker-0:2223"
    assert plan["spec"]["run"]["on"] == "compose"


def test_the_file_may_name_the_engine() -> None:
    Path("cluster.yaml").write_text(FILE + "run: {on: compose}\n")
    assert "  worker-0:2222  " in call().output
    assert "  worker-0:2222  " not in call("--on", "local").output


def test_what_the_engine_cannot_start_is_refused_with_its_line() -> None:
    with pytest.raises(LauncherError, match="addresses: a:1 is a real machine"):
        call("--on", "compose", "--set", "cluster={worker: [a:1]}")
