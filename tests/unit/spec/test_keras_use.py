"""Whether a job uses Keras, from its source alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.spec.keras_use import job_uses_keras, uses_keras

USES = [
    "import keras",
    "import keras.layers as layers",
    "import numpy, keras",
    "from keras import Sequential",
    "from keras.layers import Dense",
    "import tf_keras",
    "from tensorflow import keras",
    "from tensorflow.keras.layers import Dense",
    "import tensorflow.keras",
    "import tensorflow as tf\nmodel = tf.keras.Sequential()",
    "def later():\n    import keras",
    "try:\n    import keras\nexcept ImportError:\n    keras = None",
]
DOES_NOT = [
    "",
    "import tensorflow as tf\ntf.Variable(0)",
    "import keras_tuner",
    "from .keras_free import Model",
    "# import keras",
    "'import keras'",
    "keras = 1",
    "import os\nos.environ['KERAS_BACKEND'] = 'torch'\nimport keras",
    "import os\nos.environ.setdefault('TF_USE_LEGACY_KERAS', '1')\nimport tensorflow as tf\ntf.keras.Model",
]


@pytest.mark.parametrize("source", USES)
def test_a_source_that_names_keras_uses_it(source: str) -> None:
    assert uses_keras(source)
    assert uses_keras("import numpy", source)


@pytest.mark.parametrize("source", DOES_NOT)
def test_one_that_does_not_or_that_chooses_how_keras_is_imported_does_not(source: str) -> None:
    assert not uses_keras(source)


def test_a_setting_in_any_file_of_the_job_counts() -> None:
    assert not uses_keras("import keras", "import os\nos.environ['KERAS_BACKEND'] = 'torch'")


def test_the_files_of_a_script_a_module_and_a_package_are_read_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import keras\nraise SystemExit")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("raise SystemExit")
    (tmp_path / "package" / "job.py").write_text("from tensorflow import keras\nraise SystemExit")
    assert job_uses_keras("script.py", tmp_path)
    assert job_uses_keras("package.job", tmp_path)
    assert not job_uses_keras("linear_regression", tmp_path)
    assert not job_uses_keras("hello", tmp_path)


@pytest.mark.parametrize("source", [None, b"def", b"\xff", b"\0", b"(" * 1000])
def test_a_job_that_cannot_be_read_is_left_to_its_task(tmp_path: Path, source: bytes | None) -> None:
    if source is not None:
        (tmp_path / "broken.py").write_bytes(source)
    assert not job_uses_keras("broken.py", tmp_path)
    assert not job_uses_keras("nowhere.at.all", tmp_path)


def test_a_package_is_read_where_its_job_class_is(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "__init__.py").touch()
    (tmp_path / "own" / "job.py").write_text("import keras")
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "__init__.py").touch()
    (tmp_path / "own").rename(tmp_path / "outer" / "own")
    assert job_uses_keras("outer.own", tmp_path)
