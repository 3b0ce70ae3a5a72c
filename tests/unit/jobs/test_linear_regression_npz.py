"""NPZ files for the linear regression: what is read, and why a file is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.linear_regression.config import Config


def npz_refusal(directory: Path, **arrays: Any) -> str:
    np.savez(directory / "points.npz", **arrays)
    with pytest.raises(ValueError, match=r".") as refused:
        Config(data="points.npz").load(directory)
    return str(refused.value)


def test_x_and_y_are_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", x=np.arange(20).reshape(10, 2), y=np.arange(10))
    dataset = Config(data="points.npz").load(tmp_path)
    assert (dataset.train.x.shape, dataset.test.x.shape, dataset.train.features) == ((8, 2), (2, 2), ("x0", "x1"))


def test_test_arrays_are_used(tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", x=[1.0, 2], y=[3.0, 4], x_test=[5.0], y_test=[6.0])
    dataset = Config(data="points.npz").load(tmp_path)
    assert (dataset.train.x.tolist(), dataset.test.x.tolist(), dataset.test.y.tolist()) == ([[1], [2]], [[5]], [6])


def test_test_data_replaces_test_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", x=[1.0, 2], y=[3.0, 4], x_test=[5.0], y_test=[6.0])
    np.savez(tmp_path / "more.npz", x=[7.0], y=[8.0])
    assert Config(data="points.npz", test_data="more.npz").load(tmp_path).test.y.tolist() == [8]


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (
            {"X": [1.0], "y": [1.0]},
            "points.npz has no array 'x'; it needs x (rows × features) and y (rows), and may have x_test and y_test",
        ),
        (
            {"x": [1.0], "y": [1.0], "x_test": [1.0]},
            (
                "points.npz has no array 'y_test'; "
                "it needs x (rows × features) and y (rows), and may have x_test and y_test"
            ),
        ),
        (
            {"x": [[[1.0]]], "y": [1.0]},
            "points.npz: x has shape (1, 1, 1) and y (1,); x must be (rows, features) and y (rows,)",
        ),
        ({"x": [1.0, 2], "y": [1.0]}, "points.npz: x has 2 rows and y has 1; the numbers must be equal"),
        ({"x": ["a"], "y": [1.0]}, "points.npz: x holds <U1; it must hold real numbers"),
        (
            {"x": [[1.0, 2], [3, np.nan]], "y": [1.0, 2]},
            "points.npz: x[1, 1] is nan; every value must be a finite number",
        ),
        (
            {"x": [1.0, 2, 3], "y": [1.0, np.inf, np.inf]},
            "points.npz: y[1] is inf (and 1 more below); every value must be a finite number",
        ),
        (
            {"x": [1.0, 2], "y": [1.0, 2], "x_test": [[1.0, 2]], "y_test": [1.0]},
            (
                "points.npz: the test points have 2 features and the training points of points.npz have 1; "
                "the numbers must be equal"
            ),
        ),
        (
            {"x": [1.0, 2], "y": [1.0, 2]},
            "points.npz has 2 rows; it needs at least 2 to train on and 1 to test on; add rows, or give test_data",
        ),
        (
            {"x": [1.0, 2, 3], "y": [4.0, 4, 4]},
            "points.npz, column 'y': all 2 training rows contain 4; the target must vary, or there is nothing to learn",
        ),
        (
            {"x": np.array([{}]), "y": [1.0]},
            "points.npz is not an archive of number arrays; write it with numpy.savez('points.npz', x=x, y=y)",
        ),
    ],
)
def test_wrong_arrays_are_one_sentence(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    assert npz_refusal(tmp_path, **arrays) == sentence


@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", b"PK\x03\x04 cut off", b"\x93NUMPY"])
def test_other_files_are_not_archives(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "points.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"^points\.npz is not an archive of number arrays; write it with"):
        Config(data="points.npz").load(tmp_path)


def test_a_single_array_is_not_an_archive(tmp_path: Path) -> None:
    with (tmp_path / "points.npz").open("wb") as file:
        np.save(file, np.arange(3.0))
    with pytest.raises(ValueError, match="not an archive"):
        Config(data="points.npz").load(tmp_path)


def test_no_damage_to_an_archive_ends_in_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "points.npz"
    np.savez_compressed(path, x=np.arange(12.0).reshape(6, 2), y=np.arange(6.0))
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + random.bytes(3) + whole[place + 3 :])
        with contextlib.suppress(ValueError):
            Config(data="points.npz").load(tmp_path)
