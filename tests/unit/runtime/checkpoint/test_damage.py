"""A checkpoint that is no longer what was written is named, set aside, and never gone on from."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.runtime.checkpoint import content as module
from launcher.runtime.checkpoint import progress
from launcher.runtime.checkpoint.content import damage
from launcher.runtime.checkpoint.files import CheckpointFiles
from launcher.runtime.checkpoint.saved import Saved
from tests.unit.runtime.rendezvous.meeting import save

NO_STATE = "state.json cannot be read: this describes no checkpoint: "


@pytest.fixture
def files(tmp_path: Path) -> CheckpointFiles:
    return CheckpointFiles(tmp_path)


def truncate(saved: Saved) -> None:
    (saved.directory / "a").write_bytes(b"cont")


def change(saved: Saved) -> None:
    (saved.directory / "a").write_bytes(b"cantent")


def remove(saved: Saved) -> None:
    (saved.directory / "a").unlink()


def scribble(saved: Saved) -> None:
    (saved.directory / "state.json").write_text('{"step": 7')


def lose(saved: Saved) -> None:
    (saved.directory / "state.json").unlink()


def mistake(saved: Saved) -> None:
    state = saved.directory / "state.json"
    state.write_text(state.read_text().replace('"step": 7', '"step": 9'))


def miscount(saved: Saved) -> None:
    state = saved.directory / "state.json"
    state.write_text(state.read_text().replace('"repeated": 0', '"repeated": null'))


def misname(saved: Saved) -> None:
    state = saved.directory / "state.json"
    state.write_text(state.read_text().replace('"a": [', '"a": 7, "b": ['))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (truncate, "a has 4 of 7 bytes"),
        (change, "a has other content than when it was written"),
        (remove, "a is missing"),
        (scribble, "state.json cannot be read: Expecting ',' delimiter: line 1 column 11 (char 10)"),
        (lose, "state.json is missing"),
        (mistake, "state.json is that of another step"),
        (miscount, f"{NO_STATE}int() argument must be a string, a bytes-like object or a real number, not 'NoneType'"),
        (misname, f"{NO_STATE}cannot unpack non-iterable int object"),
    ],
)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_counts(
    files: CheckpointFiles, tmp_path: Path, harm: Callable[[Saved], None], why: str
) -> None:
    before, newest = save(files, 5, a=b"before"), save(files, 7, a=b"content")
    harm(newest)
    said: list[str] = []
    assert files.newest_sound(said.append, print) == before
    assert said == [
        f"the checkpoint step-0000000007 is damaged ({why}) and set aside as damaged-step-0000000007",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged-step-0000000007", "step-0000000005"]
    assert files.newest_sound(said.append, print) == before
    assert len(said) == 1


def test_a_file_that_the_disk_does_not_give_back_is_named(
    files: CheckpointFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = save(files, 7, a=b"content")

    def unreadable(path: Path, _: object) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(module, "_digest", unreadable)
    assert damage(saved.directory) == "a cannot be read: Input/output error"


def test_a_step_that_is_damaged_twice_is_set_aside_twice(files: CheckpointFiles, tmp_path: Path) -> None:
    for _ in range(2):
        truncate(save(files, 7, a=b"content"))
        assert files.newest_sound(lambda _: None, print) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged-step-0000000007", "damaged-step-0000000007-2"]


def test_what_is_set_aside_is_kept_beside_the_newest_few(files: CheckpointFiles, tmp_path: Path) -> None:
    truncate(save(files, 7, a=b"content"))
    files.newest_sound(lambda _: None, print)
    for step in (8, 9):
        save(files, step)
    files.keep(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged-step-0000000007", "step-0000000009"]


def test_only_the_checkpoint_that_is_resumed_from_is_read(
    files: CheckpointFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(files, 5, a=b"before")
    newest = save(files, 7, a=b"content")
    read: list[str] = []
    digest = module._digest

    def noted(path: Path, *more: Any) -> str:
        read.append(path.parent.name)
        return digest(path, *more)

    monkeypatch.setattr(module, "_digest", noted)
    assert files.newest_sound(print, print) == newest
    assert files.holds(newest.offer(), print, print)
    assert read == [newest.directory.name] * 2


def test_a_checkpoint_is_held_if_it_is_the_one_that_is_offered_and_whole(files: CheckpointFiles) -> None:
    saved = save(files, 7, a=b"content")
    offer, said = saved.offer(), list[str]()
    assert not files.holds(replace(offer, step=9), said.append, print)
    assert not files.holds(replace(offer, identity="another run's"), said.append, print)
    assert files.holds(offer, said.append, print)
    assert said == []
    change(saved)
    assert not files.holds(offer, said.append, print)
    assert len(said) == 1
    assert files.saved() == []


def test_it_is_said_how_far_the_verifying_of_gigabytes_is(
    files: CheckpointFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SAY_EVERY", 0.0)
    saved = save(files, 7, a=b"x" * (1 << 20), b=b"y" * (1 << 19))
    said: list[str] = []
    assert damage(saved.directory, said.append) == ""
    assert said == [f"verifying checkpoint step-7: {mib} of 1.5 MiB" for mib in ("1.0", "1.5")]
    assert progress._amount(3 << 30, 8 << 30) == "3.0 of 8.0 GiB"


def test_a_checkpoint_of_an_earlier_version_has_no_digests_and_is_sound(files: CheckpointFiles) -> None:
    saved = save(files, 7, a=b"content")
    (saved.directory / "state.json").write_text('{"step": 7, "id": "x"}')
    assert damage(saved.directory) == ""
