"""What tests of the verbs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.engines.local import engine as module
from tests.unit.commands.train.launches import FILE, FakeLaunch


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeLaunch]:
    """Return what stands in for LocalRun in this test."""

    class LocalRun(FakeLaunch):
        pass

    (tmp_path / "cluster.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    for key in ("LAUNCHER_RUN", "LAUNCHER_DIRECTORY", "LAUNCHER_SET", "LAUNCHER_KEY"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(module, "LocalRun", LocalRun)
    return LocalRun
