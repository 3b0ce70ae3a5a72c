"""Files that are written whole or not at all, and lines that are appended whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.whole_files import append_json, write_json, write_whole


def test_a_file_is_replaced_whole_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old and longer")
    write_whole(path, "né")
    assert path.read_bytes() == b"n\xc3\xa9"
    assert path.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json"]


def refuse_replace(monkeypatch: pytest.MonkeyPatch) -> str:
    def replace(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", replace)
    return "new"


def refuse_interrupted(monkeypatch: pytest.MonkeyPatch) -> str:
    def chmod(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "chmod", chmod)
    return "new"


def refuse_text(_: pytest.MonkeyPatch) -> str:
    return "no file holds a \ud800"


@pytest.mark.parametrize("refuse", [refuse_replace, refuse_interrupted, refuse_text])
def test_a_write_that_fails_leaves_the_old_file_whole_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Callable[[pytest.MonkeyPatch], str]
) -> None:
    path = tmp_path / "plan.json"
    path.write_text("old")
    with monkeypatch.context() as context:
        text = refuse(context)
        with pytest.raises((OSError, KeyboardInterrupt, UnicodeEncodeError)):
            write_whole(path, text)
    assert path.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json"]


def test_json_is_indented_and_ends_its_line(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": [1]})
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == {"a": [1]}
    assert text.startswith('{\n  "a"')
    assert text.endswith("}\n")


def test_what_json_has_no_word_for_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_json(path, object())
    assert path.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json"]


def test_lines_are_appended_each_in_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = os.write

    def watched(descriptor: int, data: bytes) -> int:
        written.append(data)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", watched)
    path = tmp_path / "events.jsonl"
    append_json(path, {"n": 1, "text": "two\nlines"})
    append_json(path, {"n": 2})
    assert written == [b'{"n": 1, "text": "two\\nlines"}\n', b'{"n": 2}\n']
    assert path.read_bytes() == b"".join(written)
