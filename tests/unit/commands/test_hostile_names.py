"""No verb lets a name or a value control the terminal, or print a line that looks like another message."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import cli
from launcher.commands import machine_probes
from launcher.rundir import RunFiles
from launcher.whole_files import write_json

ROOT = Path(__file__).parents[3]
# ESC c and a title, a C1 control, a return, a new line, an override of direction, a separator of lines, a byte that is
# not UTF-8, a bell.
EVIL = "x\x1bc\x1b]0;t\x07\x9b2J\ry\nforged: line\u202ez\u2028\x85\udce9"
TEXT = EVIL.replace("\udce9", "")  # no YAML text has half a character
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of that name, with a cluster file of that name, and runs of that name, one of them damaged."""
    directory = tmp_path / EVIL
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setattr(machine_probes, "machine", lambda: iter(()))
    monkeypatch.setattr(machine_probes, "tensorflow", lambda: ([], {}))
    for key in ("LAUNCHER_RUN", "LAUNCHER_DIRECTORY", "LAUNCHER_SET", "LAUNCHER_KEY", "COLUMNS"):
        monkeypatch.delenv(key, raising=False)
    quoted = json.dumps(TEXT)
    valid = f"job: hello\nname: demo\ncluster: {{worker: {{tasks: 1, gpus: 0, env: {{A: {quoted}}}}}}}\n"
    Path("cluster.yaml").write_text(valid)
    Path(f"{EVIL}.yaml").write_text(valid)
    Path("wrong.yaml").write_text(
        f"job: hello\ncluster: {{worker: 1, {quoted}: 3}}\nargs: {{{quoted}: 1}}\n{quoted}: {quoted}\nmode: {quoted}\n"
    )
    Path("args.yaml").write_text(f"job: {quoted}\ncluster: {{worker: 1}}\nargs: {{{quoted}: {quoted}}}\n")
    Path("rules.yaml").write_text(
        f"job: linear_regression\ncluster: {{worker: [{quoted}]}}\nargs: {{data: {quoted}}}\nrun: {{on: {quoted}}}\n"
    )
    for name in (EVIL, f"{EVIL}.damaged"):
        run = RunFiles(Path("runs", name))
        run.directory.mkdir(parents=True)
        run.plan.write_text("[]")
        run.cluster_file.write_text(valid)
    Path("runs", EVIL, "plan.json").write_text(json.dumps({"directory": str(directory)}))
    cause = {"task": EVIL, "error": EVIL, "file": EVIL}
    write_json(RunFiles(Path("runs", EVIL)).result, {"status": "failed", "steps": 1, "exit_code": 1, "cause": cause})
    yield directory
    os.chdir("/")


def said(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["launcher", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    printed = capsys.readouterr()
    code = left.value.code
    assert code is None or isinstance(code, int)
    return code or 0, printed.out + printed.err


FILE = f"{EVIL}.yaml"
WITH_LINES = (["plan", FILE, "--task", "worker:0"],)  # for a shell: a value with a new line has two lines
SET = f"args.{EVIL}={json.dumps(TEXT)}"
CALLS = [
    [EVIL],
    ["--" + EVIL],
    *(
        [verb, *arguments]
        for verb in ("plan", "check", "run", "doctor", "render compose", "config show --file")
        for arguments in (
            [f"{EVIL}.gone.yaml"], ["wrong.yaml"], ["args.yaml"], ["rules.yaml"], ["--set", SET], ["--set", EVIL],
            ["--" + EVIL], ["cluster.yaml", EVIL],
        )
    ),
    *([verb, FILE] for verb in ("plan", "plan --json", "check", "doctor", "render compose")),
    ["plan", FILE, "--task", EVIL],
    ["plan", FILE, "--task", "worker:0"],
    ["plan", FILE, "--on", EVIL],
    ["run", FILE, "--task", EVIL],
    ["run", FILE, "--host", EVIL],
    ["run", FILE, "--on", EVIL],
    ["run", FILE, "--run", EVIL],
    ["run", FILE, "--directory", EVIL],
    ["run", "--plan", EVIL],
    ["run", "--plan", f"runs/{EVIL}/plan.json"],
    ["run", "--resume", EVIL],
    ["run", "--resume", f"{EVIL}.damaged"],
    ["run", "--resume", f"{EVIL}.gone"],
    ["render", EVIL],
    ["render", "compose", FILE, "--output", f"{EVIL}/gone/compose.yaml"],
    ["config", EVIL],
    ["config", "get", EVIL],
    ["config", "get", "cluster.worker.env", "--file", FILE],
    ["config", "get", f"args.{EVIL}", "--file", "args.yaml"],
    ["config", "set", EVIL],
    ["config", "set", f"{EVIL}=1"],
    ["config", "set", SET, "--file", FILE],
    ["config", "set", SET],
    ["config", "set", f"cluster.worker.env.A={json.dumps(TEXT + TEXT)}", "--dry-run"],
    ["config", "set", f"job={json.dumps(TEXT)}", "--file", FILE],
    ["config", "unset", EVIL, "--file", FILE],
    ["config", "unset", f"args.{TEXT}", "--file", "args.yaml"],
    ["config", "add", EVIL],
    ["config", "add", "worker", EVIL],
    ["config", "remove", EVIL],
    ["config", "remove", f"worker:{EVIL}"],
    ["config", "diff", "--run", EVIL],
    ["config", "diff", "--run", f"{EVIL}.gone"],
    ["config", "diff", "args.yaml"],
    ["config", "diff", FILE],
    ["config", "format", "--file", FILE],
    ["config", "format", "--file", f"{EVIL}.gone"],
    ["config", "key", "--file", FILE],
    ["config", "key", "--file", EVIL],
    ["config", "init", "--yes", "--file", FILE],
    ["config", "init", "--yes", "--file", f"{EVIL}.new.yaml"],
    ["config", "init", "--yes", "--file", f"{EVIL}/new.yaml"],
    ["config", "init", "--yes", "--file", "new.yaml", "--job", EVIL],
    ["config", "init", "--yes", "--file", "new.yaml", "--job", f"{EVIL}.py"],
    ["config", "init", "--yes", "--file", "new.yaml", "--name", EVIL],
    ["config", "init", "--yes", "--file", "new.yaml", "--hosts", EVIL],
    ["config", "init", "--yes", "--file", "new.yaml", "--mode", EVIL],
    ["config", "init", "--yes", "--file", "new.yaml", "--workers", EVIL],
    ["config", "init", "--file", "new.yaml"],
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: ascii(" ".join(call).replace(EVIL, "EVIL"))[1:-1])
@pytest.mark.usefixtures("place")
def test_no_verb_prints_control_or_a_forged_line(
    call: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.terminal.printing.on_terminal", lambda: True)
    code, printed = said([*call[0].split(" "), *call[1:]] if " " in call[0] else call, capsys, monkeypatch)
    assert code in (0, 1, 2), printed
    assert printed.strip()
    assert not CONTROL.findall(printed), printed
    if call not in WITH_LINES:
        assert not [line for line in printed.split("\n") if line.startswith("forged")], printed


@pytest.mark.usefixtures("place")
def test_a_program_gets_a_value_as_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(["config", "get", "cluster.worker.env.A"], capsys, monkeypatch) == (0, f"{TEXT}\n")


def test_another_way_to_print_is_refused_by_the_linter() -> None:
    code = "import sys\nimport click\nclick.echo(1)\nclick.style('a')\nsys.stdout.write('a')\nprint(1)\n"
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "--select=TID251,T201", "-"]
    place = ["--stdin-filename", "launcher/commands/new.py"]
    found = subprocess.run([*command, *place], input=code, cwd=ROOT, capture_output=True, text=True, check=False)
    assert [int(number) for number in re.findall(r"new.py:(\d+):", found.stdout)] == [3, 4, 5, 6], found
