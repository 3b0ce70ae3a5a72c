"""What a cluster file says to each engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from launcher.errors import SpecError
from launcher.spec.file import ClusterFile, Engines, load


class Easy(BaseModel):
    word: str = "hello"


class Needy(BaseModel):
    machines: str


ENGINES: Engines = {"easy": Easy, "needy": Needy, "none": None}


def read(tmp_path: Path, *lines: str) -> ClusterFile:
    path = tmp_path / "cluster.yaml"
    path.write_text("\n".join(["job: hello", "cluster: {worker: 1}", "run: {on: easy}", *lines, ""]))
    return load(path, engines=ENGINES)


def test_a_section_is_what_is_written(tmp_path: Path) -> None:
    assert read(tmp_path, "easy: {word: hi}").sections["easy"] == Easy(word="hi")


def test_an_engine_that_nothing_is_said_to_has_its_defaults(tmp_path: Path) -> None:
    sections = read(tmp_path).sections
    assert sections["easy"] == Easy()
    assert sections["none"] is None
    assert sections["elsewhere"] is None


def test_a_section_that_must_be_written_is_asked_for_when_its_engine_is_used(tmp_path: Path) -> None:
    sections = read(tmp_path).sections
    with pytest.raises(SpecError, match=r"needy\.machines: .*missing"):
        sections["needy"]
