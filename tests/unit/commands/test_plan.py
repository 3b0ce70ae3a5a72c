from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from launcher.commands import plan as module
from launcher.commands.plan import command
from launcher.errors import LauncherError
from tests.unit.cluster.test_placement_machines import machine

FILE = 'job: hello\nname: demo\ncluster: {worker: {tasks: 2, gpus: 0, env: {MINE: "it\'s $HOME"}}, ps: 3}\n'


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


def test_no_cell_is_cut_however_narrow_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    host = "a-very-long-host-name-of-a-machine-in-some-data-centre.example.org"
    output = call("--set", f"cluster.worker=[{host}:2222, {host}:2223]", "--set", "cluster.ps=0").output
    assert f"\nworker:1  {host}:2223  train  " in output


def test_several_machines_are_named_with_what_to_call_on_each() -> None:
    output = call("--set", "cluster.worker=[a:1, b:1]", "--set", "cluster.ps=0").output
    assert "machines     a, b; each starts its part: launcher run --host a" in output


def test_json_is_the_plan() -> None:
    value = json.loads(call("--json", "--set", "mode=async").output)
    assert value["strategy"] == "ParameterServerStrategy"
    assert [task["task"] for task in value["tasks"]] == ["chief:0", "worker:0", "worker:1", "ps:0", "ps:1", "ps:2"]


def test_a_task_s_environment_can_be_pasted_into_a_shell() -> None:
    output = call("--task", "worker:1").output
    script = f'{output}\nprintf \'%s\\n\' "$MINE" "$TF_CONFIG" "$LAUNCHER_TASK"\n'
    mine, config, context = subprocess.check_output(["sh", "-c", script], text=True).splitlines()
    assert mine == "it's $HOME"
    assert json.loads(config)["task"] == {"type": "worker", "index": 1}
    assert json.loads(context)["task"] == "worker:1"


def test_a_task_s_environment_is_there_as_json_too() -> None:
    assert json.loads(call("--task", "worker:0", "--json").output)["PYTHONUNBUFFERED"] == "1"


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
    assert max(map(len, module._wrapped("word " * 40).split("\n"))) <= 60


def test_what_is_left_of_the_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    there = replace(machine(4, 2), core_note="a control group allows 2 of 8 cores")
    monkeypatch.setattr(module, "take", lambda _: there)
    output = call("--set", "cluster.worker.gpus=1").output
    assert "node-a  node 0  cores 0-1" in output
    assert "idle GPUs    2-3\n" in output
    assert "cores        a control group allows 2 of 8 cores\n" in output
    assert "GPUs         none" not in output
