"""A cluster file that a test writes, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.errors import SpecError
from launcher.spec.file import ClusterFile, check_job, load

GOOD = "job: hello\ncluster: {worker: 2}\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], Path]:
    monkeypatch.chdir(tmp_path)

    def write_file(content: str | bytes) -> Path:
        Path("cluster.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
        return Path("cluster.yaml")

    return write_file


Write = Callable[[str | bytes], Path]


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(path, overrides)
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


def problem(path: Path, *overrides: str) -> str:
    (only,) = problems(path, *overrides)
    return only


def job_file(path: Path) -> ClusterFile:
    file = load(path)
    check_job(file)
    return file
