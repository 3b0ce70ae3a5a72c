"""The engine of docs/engines.md, run as it stands there: an engine is one folder and one line of the table."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from launcher import cli
from launcher.engines.table import ENGINES
from launcher.rundir import RunFiles

PAGE = (Path(__file__).parents[3] / "docs" / "engines.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(FILE,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
Called = tuple[int, str, str]
Call = Callable[..., Called]


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    *modules, table = PYTHON
    for name, text in zip(("engine", "section"), modules, strict=True):
        module = ModuleType(f"launcher.engines.fake.{name}")
        exec(compile(text, "docs/engines.md", "exec"), module.__dict__)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    known: dict[str, dict[str, str]] = {}
    exec(table, known)
    assert known["ENGINES"].items() - ENGINES.items() == {("fake", "launcher.engines.fake.engine")}
    for name, place in known["ENGINES"].items():
        monkeypatch.setitem(ENGINES, name, place)
    for key in ("LAUNCHER_RUN", "LAUNCHER_DIRECTORY", "LAUNCHER_SET"):
        monkeypatch.delenv(key, raising=False)
    (tmp_path / "cluster.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> Called:
        monkeypatch.setattr(sys, "argv", ["launcher", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said, code = capsys.readouterr(), ended.value.code or 0
        assert isinstance(code, int)
        return code, said.out, said.err

    return call


def test_it_is_no_longer_than_a_page() -> None:
    lines = [line for text in PYTHON[:2] for line in text.splitlines() if line]
    assert len(lines) <= 32


def test_it_runs_with_its_own_section_and_the_summary_of_every_run(call: Call) -> None:
    code, out, error = call("run")
    assert (code, error) == (0, "")
    assert out.splitlines() == [
        "cluster: hello, sync, 2 tasks, MultiWorkerMirroredStrategy",
        "worker:0 │ good morning",
        "worker:1 │ good morning",
        "done: 0 steps in 0:00",
        f"run directory: runs/{Path('runs/latest').readlink()}",
    ]
    files = RunFiles(Path("runs/latest"))
    assert json.loads(files.result.read_text())["status"] == "done"
    assert json.loads(files.plan.read_text())["spec"]["run"]["on"] == "fake"


def test_the_command_line_chooses_it_and_sets_its_keys(call: Call) -> None:
    Path("cluster.yaml").write_text("job: hello\ncluster: {worker: 1}\n")
    _, out, _ = call("run", "--on", "fake", "--set", "fake.word=hi")
    assert "worker:0 │ hi" in out.splitlines()


def test_without_its_section_it_has_the_defaults(call: Call) -> None:
    Path("cluster.yaml").write_text("job: hello\ncluster: {worker: 1}\nrun: {on: fake}\n")
    assert "worker:0 │ hello" in call("run")[1].splitlines()
    assert json.loads(call("render", "fake")[1]) == {"worker:0": "hello"}


def test_it_is_planned_and_rendered(call: Call) -> None:
    assert call("plan")[0] == 0
    code, out, error = call("render", "fake")
    assert (code, error) == (0, "")
    assert json.loads(out) == {"worker:0": "good morning", "worker:1": "good morning"}
    code, out, _ = call("render", "fake", "--output", "words.json")
    assert (code, out) == (0, "words.json: 2 tasks; start them: launcher run --on fake\n")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("fake: {wrod: x}", "cluster.yaml:4: fake.wrod: unknown key; did you mean 'word'?"),
        ("fake: {word: 3}", "cluster.yaml:4: fake.word: must be text, not 3"),
        ("fake: x", "cluster.yaml:4: fake: must be a mapping, not 'x' (text)"),
        ("fake:", "cluster.yaml:4: fake: must be a mapping, not empty"),
        ("local: {}", "cluster.yaml:4: local: unknown key"),
    ],
)
def test_its_section_is_checked_with_the_file(call: Call, line: str, sentence: str) -> None:
    Path("cluster.yaml").write_text(f"job: hello\ncluster: {{worker: 2}}\nrun: {{on: fake}}\n{line}\n")
    code, out, error = call("run")
    assert (code, out) == (2, "")
    assert error.startswith(sentence)
    assert not Path("runs").exists()


def test_a_wrong_section_is_told_with_everything_else_that_is_wrong(call: Call) -> None:
    Path("cluster.yaml").write_text("job: hello\ncluster: {worker: 2}\nrun: {on: fak}\nfake: {word: 3}\nmode: fast\n")
    keys = [line.split(": ")[1] for line in call("run")[2].splitlines()]
    assert keys == ["run.on", "fake.word", "mode"]


def test_its_keys_are_edited_and_shown_like_all_others(call: Call) -> None:
    assert call("config", "unset", "fake")[0] == 0
    assert call("config", "get", "fake.word") == (0, "hello\n", "")
    assert call("config", "set", "fake.word=hi")[0] == 0
    assert re.search(r"^fake:\s+\{?word: hi", Path("cluster.yaml").read_text(), re.MULTILINE)
    assert call("config", "get", "fake.word") == (0, "hi\n", "")
    assert "did you mean 'fake.word'?" in call("config", "set", "fake.wrd=hi")[2]
    assert call("config", "add", "worker")[0] == 0
    assert "fake.word" in call("config", "show")[1]


def test_its_section_is_in_the_schema(call: Call) -> None:
    schema = json.loads(call("config", "schema")[1])
    assert schema["properties"]["fake"] == {"$ref": "#/$defs/FakeSection"}
    assert schema["$defs"]["RunSpec"]["properties"]["on"]["enum"] == ["local", "compose", "fake"]


def test_a_part_of_the_cluster_is_refused_if_it_starts_none(call: Call) -> None:
    said = "--on fake runs the whole cluster; leave --task, --host and --directory out\n"
    assert call("run", "--task", "worker:0") == (2, "", said)
