from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from launcher.commands import machine_probes
from launcher.commands.findings import Finding
from launcher.commands.train.check import command

FILE = "job: hello\ncluster: {worker: {tasks: 2, gpus: 0}}\n"


@pytest.fixture(autouse=True)
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cluster.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def ask_tensorflow(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """The real question to TensorFlow, which takes seconds and which the other tests do without."""
    real = machine_probes.ask_tensorflow
    monkeypatch.setattr(machine_probes, "ask_tensorflow", lambda _: {"seconds": 2.0})
    return real


@pytest.fixture
def held() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("", 0))
        server.listen()
        yield server.getsockname()[1]


def call(*overrides: str) -> Result:
    arguments = [word for override in overrides for word in ("--set", override)]
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def problems(result: Result) -> list[str]:
    assert result.exit_code == 2
    return [line.removeprefix("problem").strip() for line in result.output.splitlines() if line.startswith("problem")]


def test_a_file_and_a_machine_that_are_right_end_in_zero() -> None:
    result = call()
    assert result.exit_code == 0
    assert [line.split(":")[0].split() for line in result.output.splitlines()] == [
        ["ok", about] for about in ("cluster.yaml", "job", "devices", "memory", "ports", "output", "TensorFlow")
    ]


def test_nothing_is_written() -> None:
    call()
    assert [path.name for path in Path().iterdir()] == ["cluster.yaml"]


def test_every_problem_of_the_file_is_a_line_and_tensorflow_is_looked_at_all_the_same() -> None:
    result = call("x=1", "mode=asink")
    assert [line.split(": ")[:2] for line in problems(result)] == [["--set x=1", "x"], ["--set mode=asink", "mode"]]
    assert "ok       TensorFlow: " in result.output


def test_a_job_that_is_not_there_does_not_hide_the_rest() -> None:
    result = call("job=helo", "cluster.worker.cpus=999")
    assert [line.split(": ")[1] for line in problems(result)] == ["job", "cluster.worker.cpus"]
    assert "did you mean 'hello'?" in result.output


def test_a_port_that_is_held_names_the_process(held: int) -> None:
    (problem,) = problems(call(f"cluster.worker=[localhost:{held}]"))
    assert problem.startswith(f"port {held}: worker:0 needs it; ")
    assert problem.endswith(f"(pid {os.getpid()}) holds it; stop that program, or choose another port")


def test_ports_of_other_machines_are_not_looked_at(held: int) -> None:
    assert call(f"cluster.worker=[node-a.invalid:{held}, node-b.invalid:{held}]").exit_code == 0


@pytest.mark.parametrize(("version", "ok"), [("2.21.3", True), ("2.20.0", False), ("2.22.0", False), (None, False)])
def test_only_supported_versions_of_tensorflow_are_right(
    monkeypatch: pytest.MonkeyPatch, version: str | None, ok: bool
) -> None:
    def find(name: str) -> str:
        if version is None or name != "tensorflow":
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", find)
    result = call()
    assert (result.exit_code == 0) == ok
    if not ok:
        (problem,) = problems(result)
        assert problem.endswith("pip install 'tensorflow==2.21.*'")


def test_an_output_that_cannot_be_written_is_named_with_its_line(tmp_path: Path) -> None:
    Path("taken").write_text("a file")
    (problem,) = problems(call("run.output=taken/runs"))
    assert problem.startswith(f"--set run.output=taken/runs: run.output: {tmp_path}/taken cannot be written to: ")


def test_an_output_whose_name_is_too_long_is_a_finding() -> None:
    (problem,) = problems(call(f"run.output={'a' * 300}"))
    assert problem.endswith("cannot be written to: File name too long")


def test_live_refuses_another_engine_than_this_machines_processes() -> None:
    result = CliRunner().invoke(command, ["--live", "--set", "run.on=compose"], catch_exceptions=False)
    assert problems(result) == [
        "--live: starts processes of this machine, and run.on is 'compose'; to try this machine: --set run.on=local"
    ]


def test_json_has_each_finding() -> None:
    result = CliRunner().invoke(command, ["--json", "--set", "mode=asink"])
    value = json.loads(result.output)
    assert result.exit_code == 2
    assert value["ok"] is False
    assert [(one["ok"], one["state"]) for one in value["checks"]] == [(False, "problem"), (True, "ok")]
    assert value["checks"][0].keys() == {"ok", "state", "about", "message", "remedy"}


def test_a_tensorflow_that_cannot_be_imported_says_why(
    ask_tensorflow: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ImportError('libbroken.so: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    finding = ask_tensorflow("2.21.0")
    assert isinstance(finding, Finding)
    why = "2.21.0 cannot be imported: ImportError: libbroken.so: cannot open shared object file"
    assert (finding.state, finding.message) == ("problem", why)
