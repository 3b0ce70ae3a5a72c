"""The pictures of the linear regression, checked by their pixels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from numpy.typing import NDArray

from jobs.linear_regression import pictures
from jobs.linear_regression.config import Config, Synthetic
from jobs.linear_regression.points import Points, least_squares

REPOSITORY = Path(__file__).parents[3]
RED, BLUE, LINE = "d62728", "1f5fb4", "222222"
Pixels = NDArray[np.float64]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return tmp_path / "picture.png"


@pytest.fixture
def points(tmp_path: Path) -> Points:
    return Config().load(tmp_path).train


def pixels(path: Path) -> Pixels:
    return np.asarray(matplotlib.image.imread(path))[:, :, :3]


def count(image: Pixels, colour: str) -> int:
    """Count the pixels of exactly this colour."""
    wanted = np.array(list(bytes.fromhex(colour))) / 255
    return int(np.all(np.abs(image - wanted) < 0.5 / 255, axis=2).sum())


@pytest.fixture
def legend(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of each legend that is drawn, from top to bottom."""
    seen: list[str] = []
    monkeypatch.setattr(Axes, "legend", lambda _self, _handles, labels, **_options: seen.extend(labels))
    return seen


def test_training_points_are_red_with_a_line(picture: Path, points: Points) -> None:
    pictures.train_picture(picture, points, 0.25, 0.8)
    image = pixels(picture)
    assert image.shape == (640, 960, 3)
    assert count(image, RED) > 17 * 50
    assert count(image, LINE) > 500
    assert count(image, BLUE) == 0


def test_test_points_are_blue_with_the_same_line(picture: Path, points: Points) -> None:
    pictures.test_picture(picture, points, np.array([0.25]), 0.8)
    image = pixels(picture)
    assert count(image, BLUE) > 17 * 50
    assert count(image, LINE) > 500
    assert count(image, RED) == 0


def test_the_legend_names_points_and_line(picture: Path, points: Points, legend: list[str]) -> None:
    pictures.train_picture(picture, points, 0.25, 0.8)
    assert legend == ["training points (17)", "fitted line: W = 0.25, b = 0.8"]


def test_several_features_are_drawn_against_the_diagonal(picture: Path, tmp_path: Path) -> None:
    train = Config(synthetic=Synthetic(samples=100, features=3)).load(tmp_path).train
    pictures.train_picture(picture, train, *least_squares(train))
    assert count(pixels(picture), RED) > 100 * 20
    assert count(pixels(picture), LINE) > 500


def test_many_points_are_sampled_and_the_legend_says_so(picture: Path, tmp_path: Path, legend: list[str]) -> None:
    train = Config(synthetic=Synthetic(samples=30_000)).load(tmp_path).train
    pictures.train_picture(picture, train, 1.0, 0.0)
    first = picture.read_bytes()
    pictures.train_picture(picture, train, 1.0, 0.0)
    assert legend[0] == "2,000 of 30,000 training points"
    assert picture.read_bytes() == first


def test_names_of_columns_are_not_formulas(picture: Path, points: Points) -> None:
    odd = replace(points, features=("price $ per $m_{2",), target="y" * 500)
    pictures.train_picture(picture, odd, 0.25, 0.8)
    assert count(pixels(picture), RED) > 17 * 50


def test_points_of_one_x_still_have_a_line(picture: Path, points: Points) -> None:
    pictures.test_picture(picture, points.take(np.array([0])), 0.25, 0.8)
    assert count(pixels(picture), BLUE) > 50
    assert count(pixels(picture), LINE) > 500


@pytest.mark.parametrize(
    ("costs", "least"),
    [([3.0, 1.0, 0.1, 0.08], 1500), ([0.08], 60), ([0.08, 0.08], 800), ([0.0, 0.0], 800), ([1.0, 1e50], 1500)],
)
def test_every_history_of_costs_is_seen(picture: Path, costs: Sequence[float], least: int) -> None:
    pictures.cost_picture(picture, list(enumerate(costs)))
    assert count(pixels(picture), RED) > least


def test_a_picture_is_written_whole_or_not_at_all(
    picture: Path, points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures.train_picture(picture, points, 0.25, 0.8)
    before = picture.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        pictures.train_picture(picture, points, 1.0, 0.0)
    assert picture.read_bytes() == before
    assert [each.name for each in picture.parent.iterdir()] == [picture.name]


def test_drawing_needs_no_pyplot() -> None:
    code = "import sys, jobs.linear_regression.pictures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=REPOSITORY).returncode == 0
