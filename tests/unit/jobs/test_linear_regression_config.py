"""The settings of the linear regression: what is refused, and with which sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.linear_regression.config import Config, Synthetic

REPOSITORY = Path(__file__).parents[3]


def refusal(kind: type[Config | Synthetic] = Config, /, **settings: Any) -> str:
    with pytest.raises(ValueError, match=r".") as refused:
        kind(**settings)
    return str(refused.value)


def test_the_defaults_are_the_tutorial() -> None:
    config = Config()
    assert (config.epochs, config.learning_rate, config.epoch_steps(17)) == (1000, 0.01, 17)


@pytest.mark.parametrize("key", ["epochs", "batch_size", "steps_per_epoch", "report_every", "steps_per_call"])
def test_counts_start_at_one(key: str) -> None:
    assert refusal(**{key: 0}) == f"{key} is 0; it must be a whole number of at least 1"


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_is_finite_and_above_zero(rate: float) -> None:
    assert refusal(learning_rate=rate) == f"learning_rate is {rate}; it must be a finite number above 0"


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, float("nan")])
def test_a_test_fraction_leaves_rows_on_both_sides(fraction: float) -> None:
    assert refusal(test_fraction=fraction) == f"test_fraction is {fraction}; it must be between 0 and 1, like 0.2"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"seed": -1}, "seed is -1; it must be a whole number of at least 0"),
        (
            {"data": "a.npz", "synthetic": Synthetic()},
            "data and synthetic are both given; keep one of them",
        ),
        (
            {"target": "price"},
            "target is given without data; give data a .csv or .npz file, or remove target",
        ),
        (
            {"test_data": "t.csv"},
            "test_data is given without data; give data a .csv or .npz file, or remove test_data",
        ),
        (
            {"data": "houses.csv"},
            "target is missing; it must name the column of houses.csv to predict, like target: price",
        ),
        (
            {"data": "a.npz", "target": "price"},
            "target is 'price', but an .npz file always predicts its array y; remove target",
        ),
        ({"data": "houses.xlsx"}, "data is 'houses.xlsx'; it must be a file that ends in .csv or .npz"),
        ({"data": ""}, "data is ''; it must be a file that ends in .csv or .npz"),
        (
            {"data": "a.csv", "target": "y", "test_data": "t.npz"},
            "test_data is 't.npz'; it must be a .csv file, as data is",
        ),
    ],
)
def test_impossible_settings_are_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    assert refusal(**settings) == sentence


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"samples": 1}, "synthetic.samples is 1; it must be a whole number of at least 2"),
        ({"features": 0}, "synthetic.features is 0; it must be a whole number of at least 1"),
        ({"seed": -1}, "synthetic.seed is -1; it must be a whole number of at least 0"),
        ({"noise": -0.5}, "synthetic.noise is -0.5; it must be a finite number of at least 0"),
    ],
)
def test_impossible_synthetic_data_is_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    assert refusal(Synthetic, **settings) == sentence


def test_all_problems_are_reported_at_once() -> None:
    assert refusal(epochs=0, learning_rate=-1.0, target="y").splitlines() == [
        "epochs is 0; it must be a whole number of at least 1",
        "learning_rate is -1.0; it must be a finite number above 0",
        "target is given without data; give data a .csv or .npz file, or remove target",
    ]


@pytest.mark.parametrize(
    ("config", "rows", "steps"),
    [
        (Config(steps_per_epoch=3), 17, 3),
        (Config(batch_size=5), 17, 3),
        (Config(batch_size=17), 17, 1),
        (Config(batch_size=20), 17, 1),
        (Config(data="a.npz"), 100, 1),
        (Config(synthetic=Synthetic()), 1000, 1),
    ],
)
def test_steps_of_an_epoch(config: Config, rows: int, steps: int) -> None:
    assert config.epoch_steps(rows) == steps


def test_check_passes_the_bundled_points(tmp_path: Path) -> None:
    Config().check(tmp_path)


def test_check_refuses_data_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file houses\.csv in"):
        Config(data="houses.csv", target="price").check(tmp_path)


def test_check_refuses_a_batch_larger_than_the_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        Config(batch_size=18).check(tmp_path)
    assert str(refused.value) == (
        "batch_size is 18, more than the 17 training rows of the bundled points; "
        "it must be at most 17; leave it out for the full batch"
    )


@pytest.mark.parametrize(
    ("code", "spared"),
    [
        ("config.Config()", ("numpy", "tensorflow")),
        ("config.Config().load(pathlib.Path())", ("pandas", "tensorflow")),
        ("config.Config(synthetic=config.Synthetic()).load(pathlib.Path())", ("pandas", "tensorflow")),
    ],
)
def test_only_what_is_needed_is_imported(code: str, spared: tuple[str, ...]) -> None:
    text = f"import pathlib, sys; from jobs.linear_regression import config; {code}; print(*sys.modules)"
    command = [sys.executable, "-c", text]
    modules = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    assert not set(spared) & set(modules)
