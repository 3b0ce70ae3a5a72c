"""The files of checkpoints: whole or not there, and the same wherever they are sent."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from launcher.errors import LauncherError
from launcher.runtime.checkpoint.content import damage
from launcher.runtime.checkpoint.files import CheckpointFiles
from launcher.runtime.checkpoint.saved import Offer, Saved
from launcher.runtime.rendezvous.outbox import Outbox
from tests.unit.runtime.rendezvous.meeting import save


@pytest.fixture
def files(tmp_path: Path) -> CheckpointFiles:
    return CheckpointFiles(tmp_path / "checkpoints")


def names(files: CheckpointFiles) -> list[str]:
    return sorted(path.name for path in files._directory.iterdir())


def steps(files: CheckpointFiles) -> list[int]:
    return [saved.step for saved in files.saved()]


def content(saved: Saved) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in saved.directory.iterdir() if path.name != "state.json"}


def offered(**sizes: int) -> Offer:
    """A checkpoint of an earlier version, which has no digests."""
    return Offer(5, "x", 0, {name: (size, "") for name, size in sizes.items()})


def transfer(saved: Saved, to: CheckpointFiles) -> None:
    """Send the checkpoint over a socket."""
    here, there = socket.socketpair()
    outbox = Outbox()
    with here, there, there.makefile("rb") as reader:
        for name, (size, _) in saved.offer().files.items():
            outbox.put_file(saved.directory / name, size)
        while outbox:
            outbox.send_some(here)
        here.close()
        to.receive(Offer.from_dict(json.loads(json.dumps(saved.offer().to_dict()))), reader, print)
        assert reader.read() == b""  # no more was sent than was taken


# Which are there


def test_where_there_are_none_the_newest_is_none(files: CheckpointFiles) -> None:
    assert (files.saved(), files.newest()) == ([], None)


def test_they_are_found_oldest_first(files: CheckpointFiles) -> None:
    for step in (9, 10, 1000, 2):
        save(files, step)
    assert steps(files) == [2, 9, 10, 1000]
    assert files.newest() == files.at(1000)
    assert files.at(9).directory.name == "step-0000000009"


@pytest.mark.parametrize("step", [0, 8, 90])
def test_a_step_that_is_not_there_is_a_sentence(files: CheckpointFiles, step: int) -> None:
    save(files, 9)
    with pytest.raises(LauncherError) as caught:
        files.at(step)
    assert str(caught.value) == f"{files._directory} holds no checkpoint of step {step} to resume from"


def test_what_is_half_written_or_none_of_ours_is_not_one(files: CheckpointFiles) -> None:
    save(files, 5)
    half = files._directory / ".step-9.x"
    half.mkdir()
    (half / "state.json").write_text('{"step": 9}')
    (files._directory / "step-0000000008").mkdir()  # no state: not one of ours
    (files._directory / "step-notes.txt").touch()
    assert steps(files) == [5]


def test_one_that_is_dropped_while_somebody_looks_is_not_there(
    files: CheckpointFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(files, 5)
    dropped = save(files, 4).directory / "state.json"
    read = Path.read_text

    def vanishing(path: Path, encoding: str) -> str:
        if path == dropped:
            path.unlink()
        return read(path, encoding)

    monkeypatch.setattr(Path, "read_text", vanishing)
    assert steps(files) == [5]


# Writing


def test_each_has_an_identity_of_its_own_which_stays(files: CheckpointFiles) -> None:
    first, other = save(files, 5), save(files, 6)
    assert first.identity != other.identity
    assert files.at(5) == first
    assert len(first.identity) == 16


def test_a_checkpoint_is_as_readable_as_the_rest_of_the_run(files: CheckpointFiles) -> None:
    saved = save(files, 1)
    assert saved.directory.stat().st_mode & 0o777 == 0o755
    assert (saved.directory / "state.json").stat().st_mode & 0o777 == 0o644


def test_nobody_sees_one_before_it_is_whole(files: CheckpointFiles) -> None:
    with files.writing(5) as beside:
        (beside / "a").write_bytes(b"half")
        assert beside.parent == files._directory
        assert files.saved() == []
    assert names(files) == ["step-0000000005"]


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(files: CheckpointFiles, error: BaseException) -> None:
    before = save(files, 5, a=b"old")

    def write() -> None:
        with files.writing(5) as beside:
            (beside / "a").write_bytes(b"new")
            raise error

    with pytest.raises(type(error)):
        write()
    assert names(files) == ["step-0000000005"]
    assert files.saved() == [before]
    assert content(before) == {"a": b"old"}


def test_a_rename_that_fails_leaves_nothing(files: CheckpointFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    save(files, 5)

    def full(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="no space"):
        save(files, 6)
    assert names(files) == ["step-0000000005"]


def test_a_checkpoint_takes_the_place_of_another_of_its_step(files: CheckpointFiles) -> None:
    old = save(files, 5, a=b"old", b=b"old")
    new = save(files, 5, a=b"new")
    assert files.saved() == [new]
    assert new.identity != old.identity
    assert content(new) == {"a": b"new"}


def test_a_checkpoint_outlasts_a_loss_of_power_before_the_ones_it_replaces_go(
    files: CheckpointFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def renamed(old: Path, new: Path) -> None:
        done.append(f"renamed to {new.name}")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "rename", renamed)
    save(files, 5, a=b"content")
    beside = done.pop(2)
    assert beside.startswith(".step-5.")
    assert done == ["a", "state.json", "renamed to step-0000000005", "checkpoints"]


# Removing


def test_the_newest_few_are_kept(files: CheckpointFiles) -> None:
    for step in (1, 20, 3, 1000):
        save(files, step)
    files.keep(2)
    assert names(files) == ["step-0000000020", "step-0000001000"]
    files.keep(3)
    assert steps(files) == [20, 1000]


def test_one_that_is_dropped_is_gone_at_once_however_long_its_files_take_to_remove(
    files: CheckpointFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        save(files, step, a=b"content")
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as if the task were killed at that moment
    files.keep(1)
    assert steps(files) == [2]
    (half,) = (name for name in names(files) if name != "step-0000000002")
    assert half.startswith(".step-0000000001.")
    monkeypatch.undo()
    files.remove_unfinished()
    assert names(files) == ["step-0000000002"]


def test_what_is_unfinished_is_removed_and_nothing_else(files: CheckpointFiles) -> None:
    files.remove_unfinished()  # where there is nothing at all
    save(files, 5)
    with files.writing(6) as beside:
        (beside / "a").write_bytes(b"half")
        files.remove_unfinished()
        assert not beside.exists()
        beside.mkdir()
    assert steps(files) == [5, 6]


# To another machine


def test_an_offer_names_every_file_with_its_size_and_its_digest_as_it_was_written(files: CheckpointFiles) -> None:
    saved = save(files, 5, b=b"four", a=b"")
    (saved.directory / "b").write_bytes(b"FOUR")
    digests = [hashlib.sha256(content).hexdigest() for content in (b"", b"four")]
    offer = saved.offer()
    assert offer == Offer(5, saved.identity, 0, {"a": (0, digests[0]), "b": (4, digests[1])})
    assert list(offer.files) == ["a", "b"]  # the order in which they are sent
    assert Offer.from_dict(offer.to_dict()) == offer


def test_what_is_sent_is_the_same_where_it_arrives(files: CheckpointFiles, tmp_path: Path) -> None:
    saved, there = save(files, 5, empty=b"", lines=b"\n{}\n", bytes=bytes(range(256))), CheckpointFiles(tmp_path / "b")
    transfer(saved, there)
    received = there.at(5)
    assert damage(received.directory) == ""
    assert (received.step, received.identity) == (saved.step, saved.identity)
    assert content(received) == content(saved)
    assert received.offer() == saved.offer()  # and can be sent on


def test_what_may_be_in_a_checkpoint_twice_is_known_where_it_arrives(files: CheckpointFiles, tmp_path: Path) -> None:
    with files.writing(5, repeated=3):
        pass
    transfer(files.at(5), CheckpointFiles(tmp_path / "b"))
    assert CheckpointFiles(tmp_path / "b").at(5).repeated == 3


def test_what_arrives_takes_the_place_of_another_runs_checkpoint(files: CheckpointFiles, tmp_path: Path) -> None:
    saved, there = save(files, 5, a=b"ours"), CheckpointFiles(tmp_path / "b")
    save(there, 5, a=b"another run's", b=b"too")
    transfer(saved, there)
    assert [(one.identity, content(one)) for one in there.saved()] == [(saved.identity, {"a": b"ours"})]


def test_a_file_larger_than_what_is_read_at_once_arrives_whole(files: CheckpointFiles) -> None:
    large = os.urandom((1 << 20) * 2 + 1)
    files.receive(offered(a=len(large), b=2), io.BytesIO(large + b"bb..."), print)
    assert content(files.at(5)) == {"a": large, "b": b"bb"}


def test_what_arrives_lies_nowhere_but_in_its_checkpoint(files: CheckpointFiles, tmp_path: Path) -> None:
    sent = {"step": 5, "id": "x", "files": {"../../a": [1, ""], f"{tmp_path}/b": [1, ""]}}
    files.receive(Offer.from_dict(sent), io.BytesIO(b"ab"), print)
    assert content(files.at(5)) == {"a": b"a", "b": b"b"}
    assert sorted(tmp_path.iterdir()) == [files._directory]


class Broken(io.BytesIO):
    """A connection that is reset behind what it has brought."""

    def read(self, size: int | None = -1, /) -> bytes:
        if data := super().read(size):
            return data
        raise ConnectionResetError


@pytest.mark.parametrize("reader", [io.BytesIO(b"abc"), io.BytesIO(b""), Broken(b"abc")])
def test_files_that_break_off_are_none(files: CheckpointFiles, reader: BinaryIO) -> None:
    with pytest.raises(EOFError):
        files.receive(offered(a=2, b=2), reader, print)
    assert names(files) == []


def test_files_that_cannot_be_written_are_the_systems_error(files: CheckpointFiles) -> None:
    files._directory.touch()
    with pytest.raises(FileExistsError):
        files.receive(offered(), io.BytesIO(), print)


def test_several_tasks_of_a_machine_receive_the_same_checkpoint_at_once(tmp_path: Path) -> None:
    files = CheckpointFiles(tmp_path / "checkpoints")
    offer = offered(a=3, b=3)

    def receive(meeting: threading.Barrier) -> None:
        meeting.wait()
        files.receive(offer, io.BytesIO(b"abcdef"), print)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(50):
            meeting = threading.Barrier(4)
            for received in [pool.submit(receive, meeting) for _ in range(4)]:
                received.result()
    (saved,) = files.saved()
    assert (saved.step, saved.identity) == (5, "x")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000000005"]
