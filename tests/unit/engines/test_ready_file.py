"""The file that says that a launcher's tasks have formed."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.contract.environment import READY_FILE_KEY
from launcher.engines.ready_file import ReadyFile
from launcher.errors import UsageError


@pytest.mark.parametrize("value", [None, ""])
def test_where_nobody_asks_for_a_file_there_is_none(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(READY_FILE_KEY, raising=False)
    if value is not None:
        monkeypatch.setenv(READY_FILE_KEY, value)
    assert ReadyFile.of_environment() is None


def test_a_file_that_a_killed_launcher_has_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ready"
    path.touch()
    monkeypatch.setenv(READY_FILE_KEY, str(path))
    assert ReadyFile.of_environment() == ReadyFile(path)
    assert not path.exists()


def test_the_file_comes_and_goes_however_often_it_is_said(tmp_path: Path) -> None:
    file = ReadyFile(tmp_path / "ready")
    seen = []
    for ready in (False, True, True, False, False, True):
        file.show(ready=ready)
        seen.append(file.path.exists())
    assert seen == [False, True, True, False, False, True]


def test_a_place_that_is_no_directory_is_a_sentence_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(READY_FILE_KEY, str(tmp_path / "file" / "ready"))
    with pytest.raises(UsageError, match=rf"^LAUNCHER_READY_FILE: there is no directory {tmp_path}/file$"):
        ReadyFile.of_environment()


def test_a_directory_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "ready"
    with pytest.raises(UsageError, match=rf"^LAUNCHER_READY_FILE: cannot write {path}: No such file or directory$"):
        ReadyFile(path).show(ready=True)
