"""What a warm spawner is good for: a run that would have started one like it."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.engines.local.warm import kind_of


@pytest.mark.parametrize("home", ["HOME", "KERAS_HOME"])
def test_other_settings_of_keras_need_another_spawner(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(home, str(tmp_path))
    settings = tmp_path / ("keras.json" if home == "KERAS_HOME" else ".keras/keras.json")
    settings.parent.mkdir(exist_ok=True)
    settings.write_text('{"floatx": "float32"}')
    before = kind_of("host")
    assert kind_of("host") == before
    settings.write_text('{"floatx": "float64"}')
    assert kind_of("host") != before


def test_a_variable_that_an_import_reads_needs_another_spawner(monkeypatch: pytest.MonkeyPatch) -> None:
    before = kind_of("host")
    monkeypatch.setenv("LAUNCHER_TEST", "1")
    assert kind_of("host") == before
    monkeypatch.setenv("TF_OPTIONALS_IN_GRADIENTS", "0")
    assert kind_of("host") != before
