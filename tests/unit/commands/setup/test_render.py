"""``launcher render`` as a user calls it: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher import cli
from launcher.commands.setup import render as module
from launcher.host.inventory import Inventory
from launcher.plan.placement import ports_needed
from launcher.plan.plan import Plan
from launcher.spec.file import load
from launcher.whole_files import write_whole
from tests.unit.engines.compose.made import machine_with, read, render

FILE = "job: hello\nname: demo\ncluster: {worker: {tasks: 2, cpus: 1, gpus: 0}, ps: 1}\n"
Called = tuple[int, str, str]
Call = Callable[..., Called]


@pytest.fixture(autouse=True)
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cluster.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAUNCHER_SET", raising=False)
    monkeypatch.setattr(module, "take", lambda _: machine_with((2, 3)))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Return what calls the launcher and says how it ended, and what it printed where."""

    def call(*arguments: str) -> Called:
        monkeypatch.setattr(sys, "argv", ["launcher", "render", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        code = ended.value.code or 0  # sys.exit() without a word
        assert isinstance(code, int)
        return code, said.out, said.err

    return call


# Printed


def test_without_an_output_the_compose_file_is_printed_and_nothing_else(call: Call) -> None:
    first = "# To start it, write it with its plan: launcher render compose --output compose.yaml\n"
    assert call("compose") == (0, first + render(Path("cluster.yaml"), machine_with((2, 3))), "")
    assert [path.name for path in Path().iterdir()] == ["cluster.yaml"]


def test_another_file_is_rendered(call: Call) -> None:
    Path("my.yaml").write_text(FILE.replace("tasks: 2", "tasks: 1"))
    _, text, _ = call("compose", "my.yaml")
    assert "# Rendered from my.yaml by `launcher render compose my.yaml`" in text
    assert "worker-1" not in text


OVERRIDES = [
    "args.price=$5", "args.both=$$", "args.shell=${HOME:-x}", "args.text='it''s'", 'args.quoted="a: #b"',
    "args.colon={a: 1, b: [2, 3]}", "args.word=größe-日本-🎉", "args.path=C:\\temp\\x", "args.percent=100%",
    "args.space=a   b   ", "args.tab=a\tb", "args.comment=a #b", "args.dash=- - -", "args.empty=",
    "args.line=" + "x" * 5000, "args.lines=a\nb", "args.nel=a\x85b", "args.hard=a\xa0b",
]  # fmt: skip


def test_what_is_set_comes_to_the_containers_unchanged(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_SET", "args.first=1")
    options = [word for override in ("mode=async", *OVERRIDES) for word in ("--set", override)]
    assert call("compose", "--output", "compose.yaml", *options)[0] == 0
    assert list(read(Path("compose.yaml").read_text())["services"]) == ["chief-0", "worker-0", "worker-1", "ps-0"]
    plan = Plan.from_dict(json.loads(Path("compose.plan.json").read_text()))
    assert plan.spec.args == load(Path("cluster.yaml"), ["args.first=1", *OVERRIDES]).spec.args


def test_the_help_names_the_engine_and_both_composes(call: Call) -> None:
    code, text, error = call("--help")
    assert (code, error) == (0, "")
    assert "launcher render [OPTIONS] ENGINE [FILE]" in " ".join(text.split())
    assert "for docker-compose 1.29 and docker compose 2." in " ".join(text.split())
    assert "Example: launcher render compose --output docker/compose.yaml" in text


# Written


def test_with_an_output_the_file_is_written_and_what_to_do_next_is_said(call: Call) -> None:
    assert call("compose", "--output", "compose.yaml") == (
        0, "compose.yaml: 2 containers; start them: launcher run --on compose\n", "",
    )  # fmt: skip
    Path("cluster.yaml").rename("my own.yaml")
    code, said, _ = call("compose", "my own.yaml", "--set", "args.first=1", "--output", "other.yaml")
    assert code == 0
    assert said.endswith("start them: launcher run 'my own.yaml' --set args.first=1 --on compose\n")
    Path("my own.yaml").rename("cluster.yaml")
    output = Path("compose.yaml")
    assert output.read_text() == render(Path("cluster.yaml"), machine_with((2, 3)), output=output)


def test_one_service_is_one(call: Call) -> None:
    _, said, _ = call("compose", "--output", "compose.yaml", "--set", "cluster.worker.tasks=1")
    assert said.startswith("compose.yaml: 1 container; ")


def test_the_file_is_written_whole_and_replaces_what_was_there(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[Path, str]] = []

    def write(path: Path, text: str) -> None:
        written.append((path, text))
        write_whole(path, text)

    monkeypatch.setattr(module, "write_whole", write)
    output = Path("compose.yaml")
    output.write_text("old\n" * 10_000)
    with output.open() as reading:
        assert call("compose", "--output", "compose.yaml")[0] == 0
        assert reading.read() == "old\n" * 10_000  # whoever reads the old file reads all of it
    plan = Path("compose.plan.json")
    assert written == [(output, output.read_text()), (plan, plan.read_text())]
    assert output.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in Path().iterdir()) == ["cluster.yaml", "compose.plan.json", "compose.yaml"]


def test_the_rendered_file_lies_where_its_paths_say(call: Call) -> None:
    Path("deep").mkdir()
    call("compose", "--output", "deep/compose.yaml")
    volumes = read(Path("deep/compose.yaml").read_text())["services"]["worker-0"]["volumes"]
    assert [volume["source"] for volume in volumes] == ["..", "../runs", "./compose.plan.json"]


# Refused


def refused(called: Called) -> str:
    """Return the sentence; nothing was printed or written beside it."""
    code, out, error = called
    assert (code, out) == (2, "")
    assert [path.name for path in Path().iterdir()] == ["cluster.yaml"]
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("engine", "hint"),
    [
        ("kubernetes", "; engines: local, compose"),
        ("cluster.yaml", "; engines: local, compose"),
        ("Compose", "; did you mean 'compose'? Engines: local, compose"),
    ],
)
def test_an_engine_that_there_is_not_is_refused_with_those_there_are(call: Call, engine: str, hint: str) -> None:
    assert refused(call(engine)) == f"there is no engine '{engine}'{hint}\n"


def test_an_engine_that_needs_no_file_says_so(call: Call) -> None:
    assert refused(call("local")) == (
        "local has nothing to render: its tasks are processes of this machine, which launcher run starts\n"
    )


def test_no_engine_is_refused(call: Call) -> None:
    assert "Missing argument 'ENGINE'" in refused(call())


def test_an_output_in_a_directory_that_is_not_there_is_refused(call: Call) -> None:
    said = refused(call("compose", "--output", "gone/compose.yaml"))
    assert said == "cannot write gone/compose.yaml: No such file or directory\n"


def test_an_output_that_is_a_directory_is_refused_and_leaves_nothing(call: Call, tmp_path: Path) -> None:
    (tmp_path.parent / f"{tmp_path.name}-out").mkdir()
    there = f"../{tmp_path.name}-out"
    assert refused(call("compose", "--output", there)) == f"cannot write {there}: Is a directory\n"


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("$X.yaml", "--output: '$X.yaml' has a variable, which nothing fills in here; write the path itself\n"),
        ("file:///x.yaml", "--output: 'file:/x.yaml' is a URL; write the path alone\n"),
    ],
)
def test_an_output_that_means_another_path_is_refused(call: Call, output: str, sentence: str) -> None:
    assert refused(call("compose", "--output", output)) == sentence


def test_an_output_in_the_home_directory_is_written_there(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    assert call("compose", "--output", "~/compose.yaml")[0] == 0
    assert (tmp_path / "home" / "compose.yaml").exists()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("mode=fast", "--set mode=fast: mode: "),
        ("job=helo", "--set job=helo: job: there is no job 'helo'; did you mean 'hello'?"),
        ("cluster={worker: [a:1]}", "--set cluster={worker: [a:1]}: cluster.worker.addresses: a:1 is a real machine"),
        ("cluster.worker.cpus=9", "--set cluster.worker.cpus=9: cluster.worker.cpus: worker asks for 18 cores"),
        ("cluster.worker.gpus=1", "--set cluster.worker.gpus=1: cluster.worker.gpus: worker asks for 2 GPUs"),
    ],
)
def test_what_cannot_run_is_refused_with_a_sentence(call: Call, override: str, sentence: str) -> None:
    assert refused(call("compose", "--set", override)).startswith(sentence)


def test_a_file_that_is_not_there_is_refused(call: Call) -> None:
    assert refused(call("compose", "gone.yaml")).startswith("gone.yaml: there is no such file")


def test_the_machine_is_asked_for_the_ports_of_all_tasks(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def take(ports: int) -> Inventory:
        asked.append(ports)
        return machine_with()

    monkeypatch.setattr(module, "take", take)
    assert call("compose")[0] == 0
    assert asked == [ports_needed(load(Path("cluster.yaml")).spec)]
