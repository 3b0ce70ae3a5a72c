"""The key that the launchers of one run share: who may read it, where it is looked for, and what is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from launcher.commands.setup.config import command
from launcher.engines.run_key import find_key, key_beside, new_key, write_key
from launcher.errors import UsageError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LAUNCHER_KEY", raising=False)
    (tmp_path / "several.yaml").write_text("job: hello\ncluster: {worker: [node-a:2222, node-b:2222]}\n")
    return tmp_path / "several.yaml"


def test_where_there_is_none_there_is_none(file: Path) -> None:
    assert find_key(file) == ""


def test_a_key_is_found_as_it_was_written_and_is_its_owners_alone(file: Path) -> None:
    place = write_key(file)
    assert place == key_beside(file) == file.parent / "several.yaml.key"
    assert place.stat().st_mode & 0o777 == 0o600
    assert find_key(file) == place.read_text().strip()
    assert len(find_key(file)) == 64
    assert sorted(path.name for path in file.parent.iterdir()) == ["several.yaml", "several.yaml.key"]


def test_the_environment_comes_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_key(file)
    monkeypatch.setenv("LAUNCHER_KEY", "k" * 32)
    assert find_key(file) == "k" * 32
    monkeypatch.setenv("LAUNCHER_KEY", "")  # as a compose file has it where nobody sets it
    assert find_key(file) == key_beside(file).read_text().strip()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o602, 0o601])
def test_a_key_that_others_can_reach_is_refused(file: Path, mode: int) -> None:
    write_key(file).chmod(mode)
    with pytest.raises(UsageError, match=rf"other users can read or write this key \(mode {mode:04o}\); chmod 600 "):
        find_key(file)


def test_a_key_of_another_user_is_refused_although_nobody_else_can_read_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = write_key(file).stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    sentence = rf"several\.yaml\.key: this key belongs to another user \(uid {owner}\), and .* as uid {owner + 1}; "
    with pytest.raises(UsageError, match=sentence):
        find_key(file)


@pytest.mark.parametrize("content", [b"", b"short\n", b"x" * 31, b"x" * 1025, b"\xff" * 40])
def test_what_is_no_key_is_refused(file: Path, content: bytes) -> None:
    key_beside(file).touch(mode=0o600)
    key_beside(file).write_bytes(content)
    with pytest.raises(UsageError, match=r"several\.yaml\.key: (this is no key|a key has 32 to 1024 characters)"):
        find_key(file)


def test_a_key_of_the_environment_that_is_too_short_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_KEY", "hunter2")
    with pytest.raises(UsageError, match=r"^LAUNCHER_KEY: a key has 32 to 1024 characters, and this one 7; "):
        find_key(file)


def test_a_directory_in_its_place_is_a_sentence(file: Path) -> None:
    key_beside(file).mkdir()
    with pytest.raises(UsageError, match=r"several\.yaml\.key: the key cannot be read: Is a directory"):
        find_key(file)


def test_no_two_keys_are_alike() -> None:
    assert len({new_key() for _ in range(100)}) == 100


def test_the_verb_makes_one_says_what_to_do_with_it_and_overwrites_none(file: Path) -> None:
    done = CliRunner().invoke(command, ["key", "--file", str(file)])
    assert done.exit_code == 0, done.output
    assert "copy it to every machine" in done.output
    made = key_beside(file).read_text()
    assert made.strip() not in done.output
    again = CliRunner().invoke(command, ["key", "--file", str(file)], standalone_mode=False)
    assert isinstance(again.exception, UsageError)
    assert "is there already" in str(again.exception)
    assert key_beside(file).read_text() == made


def test_a_key_beside_no_cluster_file_is_not_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["key", "--file", str(tmp_path / "no.yaml")], standalone_mode=False)
    assert isinstance(done.exception, UsageError)
    assert list(tmp_path.iterdir()) == []
