"""The rendered text as the two programs that read it do; neither needs an engine for that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.engines.compose.file import _mapping, compose
from tests.unit.engines.compose.made import in_containers, machine_with, write
from tests.unit.spec.yaml.test_writer import LOOKALIKES

TEXTS = [
    *LOOKALIKES, "$", "$$", "${X}", "${X:-y}", "$(x)", "\\$x", "a\nb: {c", "a: b", "a #b", "worker:0", "1:30", "0o7",
    "../x", "./x", ".5", "\u2028x\u202e", "-", "--x", "%41", "{{.X}}",
]  # fmt: skip


@pytest.fixture(params=["docker compose", "docker-compose"])
def reader(request: pytest.FixtureRequest) -> list[str]:
    command: list[str] = request.param.split()
    there = (
        shutil.which(command[0])
        and not subprocess.run([*command, "version"], capture_output=True, check=False).returncode
    )
    if not there:
        assert not os.environ.get("CI"), request.param
        pytest.skip(f"{request.param} is not installed")
    return command


def as_read(reader: list[str], file: Path) -> dict[str, Any]:
    """Return the services as compose has read them; what it prints has its dollar signs doubled."""
    form = ["--format", "json"] if len(reader) > 1 else []
    command = [*reader, "--file", str(file), "config", *form]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0, said.stderr
    text = said.stdout.replace("$$", "$")
    found: dict[str, Any] = (json.loads(text) if form else yaml.safe_load(text))["services"]
    return found


def test_every_text_is_the_same_text_to_compose(reader: list[str], tmp_path: Path) -> None:
    texts = [text for text in TEXTS if text != "\x85"]  # docker-compose 1.29 itself prints it as a new line
    values = {"image": "x", "command": texts, "labels": {f"n{number}": text for number, text in enumerate(texts)}}
    file = tmp_path / "compose.yaml"
    file.write_text("\n".join(["version: '2.4'", "services:", "  a:", *_mapping(values, 2), ""]), encoding="utf-8")
    service = as_read(reader, file)["a"]
    assert service["command"] == texts
    assert [service["labels"][name] for name in values["labels"]] == texts


@pytest.mark.parametrize(
    ("name", "relative"),
    [
        ("$HOME ${x} $(y)", True),
        ("a\nb: {c #d '\"\\ \u2028", False),
        ("a\nb: {c #d '\"\\ \u2028", True),
        (".inf", True),
        ("~", True),
        ("a:b", False),
    ],
)
def test_every_directory_is_the_same_to_compose(reader: list[str], tmp_path: Path, name: str, relative: bool) -> None:
    directory = tmp_path / name
    directory.mkdir()
    path = write(directory, run={"output": f"./{name}".replace("$", "")}, worker=1)
    file = tmp_path / "compose.yaml"
    text = compose(in_containers(path, machine_with()), file, source=path, relative=relative)
    file.write_text(text, encoding="utf-8")
    volumes = as_read(reader, file)["worker-0"]["volumes"]
    sources = [volume["source"] if isinstance(volume, dict) else volume.rpartition(":/")[0] for volume in volumes]
    runs = directory / name.replace("$", "")
    assert sources == [str(directory), str(runs), str(tmp_path / "compose.plan.json")]
