"""The file that `launcher config` writes: whole or not at all, through links, its mode, owner and line ends kept."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from launcher.cli import launcher
from launcher.commands.setup import config_files
from launcher.errors import UsageError
from tests.unit.commands.setup.edited import FILE


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("cluster.yaml").write_text(FILE)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(launcher, ["config", *arguments])


def said(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exception is None, result.exception
    return result.output


def refused(*arguments: str) -> str:
    """Return the sentence of a call that must leave nothing behind."""
    there = names()
    result = call(*arguments)
    assert isinstance(result.exception, UsageError), result.output
    assert names() == there
    return str(result.exception)


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def text() -> str:
    return Path("cluster.yaml").read_text()


def test_mode_link_line_ends_and_byte_order_mark_stay(place: Path) -> None:
    real = place / "real.yaml"
    real.write_bytes(b"\xef\xbb\xbf" + FILE.replace("\n", "\r\n").encode())
    real.chmod(0o640)
    (place / "cluster.yaml").unlink()
    (place / "cluster.yaml").symlink_to("real.yaml")
    said("set", "mode=async")
    after = FILE.replace("mode: sync      #", "mode: async     #")
    assert real.read_bytes() == b"\xef\xbb\xbf" + after.replace("\n", "\r\n").encode()
    assert real.stat().st_mode & 0o777 == 0o640
    assert (place / "cluster.yaml").is_symlink()
    assert names() == ["cluster.yaml", "real.yaml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(place: Path) -> None:
    os.chown(place / "cluster.yaml", 1234, 1234)
    said("set", "mode=async")
    state = (place / "cluster.yaml").stat()
    assert (state.st_uid, state.st_gid) == (1234, 1234)


def test_a_file_without_a_last_line_end_keeps_it_so(place: Path) -> None:
    (place / "cluster.yaml").write_text(FILE.rstrip("\n"))
    said("set", "run.restarts=1")
    assert text() == FILE + "run: {restarts: 1}"


def test_edits_at_once_lose_nothing(place: Path) -> None:
    command = [sys.executable, "-m", "launcher", "config", "add", "worker"]
    processes = [subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL) for _ in range(6)]
    assert [process.wait(60) for process in processes] == [0] * 6
    assert "tasks: 9" in text()


def test_an_edit_waits_for_another_one_and_not_for_ever(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(config_files, "_PATIENCE", 0.1)
    with config_files.exclusive(Path("cluster.yaml")):
        assert refused("set", "mode=async") == f"another edit in {place} has not finished within 0.1 s; try again"
    held = threading.Event()

    def hold() -> None:
        with config_files.exclusive(Path("cluster.yaml")):
            held.set()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    thread.join()
    said("set", "mode=async")


def test_a_file_that_is_not_there_is_a_sentence() -> None:
    assert "there is no such file; did you mean 'cluster.yaml'?" in refused(
        "set", "mode=async", "--file", "clutser.yaml"
    )


def test_links_in_a_circle_are_a_sentence(place: Path) -> None:
    (place / "circle.yaml").symlink_to("circle.yaml")
    assert "circle.yaml" in refused("set", "mode=async", "--file", "circle.yaml")
    assert "circle.yaml exists already" in refused("init", "--yes", "--file", "circle.yaml")
    assert "circle.yaml cannot be written" in refused("init", "--yes", "--force", "--file", "circle.yaml")


def test_init_writes_through_a_link_and_keeps_the_mode(place: Path) -> None:
    (place / "cluster.yaml").chmod(0o600)
    (place / "link.yaml").symlink_to("cluster.yaml")
    said("init", "--yes", "--force", "--file", "link.yaml")
    assert (place / "link.yaml").is_symlink()
    assert text() != FILE
    assert (place / "cluster.yaml").stat().st_mode & 0o777 == 0o600


def test_init_writes_through_a_link_that_leads_to_nothing_yet(place: Path) -> None:
    (place / "link.yaml").symlink_to("new.yaml")
    said("init", "--yes", "--file", "link.yaml")
    assert (place / "link.yaml").is_symlink()
    assert (place / "new.yaml").is_file()


def test_a_new_file_is_as_readable_as_others(place: Path) -> None:
    before = os.umask(0o027)
    try:
        said("init", "--yes", "--file", "new.yaml")
    finally:
        os.umask(before)
    assert (place / "new.yaml").stat().st_mode & 0o777 == 0o640


def test_a_missing_directory_is_reported_before_any_question(place: Path) -> None:
    assert refused("init", "--file", "no/cluster.yaml") == (
        f"no/cluster.yaml cannot be written: there is no directory {place / 'no'}; make it first"
    )


def test_what_somebody_has_written_a_moment_ago_stays() -> None:
    with pytest.raises(UsageError, match=r"^cluster\.yaml exists already; nothing was written$"):
        config_files.write_new(Path("cluster.yaml"), "mine")
    assert text() == FILE
    assert names() == ["cluster.yaml"]
