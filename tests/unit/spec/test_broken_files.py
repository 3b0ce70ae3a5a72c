"""Every file of broken_files.txt gets the message that stands there, word by word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.errors import SpecError
from launcher.spec.file import load


def cases() -> Iterator[tuple[str, str, str]]:
    """Yield title, file and message."""
    text = Path(__file__).with_name("broken_files.txt").read_text()
    for part in text.split("\n=== ")[1:]:
        title, _, rest = part.partition("\n")
        file, _, message = rest.partition(">>>\n")
        yield title, file, message.rstrip("\n")


@pytest.mark.parametrize(("title", "file", "message"), list(cases()), ids=[title for title, *_ in cases()])
def test_a_broken_file_gets_its_message(
    title: str, file: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cluster.yaml").write_text(file)
    with pytest.raises(SpecError) as caught:
        load(Path("cluster.yaml"))
    assert str(caught.value) == message, title
    assert caught.value.exit_code == 2


def test_there_are_at_least_sixty_and_none_twice() -> None:
    files = [file for _, file, _ in cases()]
    assert len(set(files)) == len(files) >= 60
