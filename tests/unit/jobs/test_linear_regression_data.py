"""The points of the linear regression: where they come from, how they are split, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.linear_regression.config import Config, Synthetic
from jobs.linear_regression.points import cost, largest_learning_rate, least_squares
from tests.unit.jobs.conftest import load_csv, refusal, write


class TestBundledPoints:
    def test_least_squares_is_the_truth_of_the_tutorial(self, tmp_path: Path) -> None:
        dataset = Config().load(tmp_path)
        w, b = least_squares(dataset.train)
        training, testing = cost(dataset.train, w, b), cost(dataset.test, w, b)
        found = (w[0], b, training, testing, abs(training - testing))
        assert found == pytest.approx((0.2516349, 0.7988012, 0.0769288, 0.0782876, 0.0013588), abs=5e-8)

    def test_there_are_17_to_train_on_and_8_to_test_on(self, tmp_path: Path) -> None:
        dataset = Config().load(tmp_path)
        assert (dataset.train.x.shape, dataset.test.x.shape) == ((17, 1), (8, 1))
        assert (dataset.train.features, dataset.train.target) == (("x",), "y")
        assert dataset.train.x.dtype == dataset.train.y.dtype == np.float64

    def test_the_tutorials_learning_rate_converges_on_them(self, tmp_path: Path) -> None:
        assert 0.01 < largest_learning_rate(Config().load(tmp_path).train) == pytest.approx(0.0442862, abs=1e-7)


class TestSplit:
    def test_it_is_the_same_every_time(self, houses: Path) -> None:
        write(houses, "x,y", *(f"{n},{n}" for n in range(50)))
        first, second = load_csv(houses), load_csv(houses)
        assert np.array_equal(first.test.y, second.test.y)
        assert not np.array_equal(first.test.y, load_csv(houses, seed=2).test.y)

    @pytest.mark.parametrize(("rows", "fraction", "held"), [(3, 0.2, 1), (3, 0.9, 1), (50, 0.2, 10), (50, 0.001, 1)])
    def test_one_row_is_tested_on_and_two_are_trained_on(
        self, houses: Path, rows: int, fraction: float, held: int
    ) -> None:
        write(houses, "x,y", *(f"{n},{n}" for n in range(rows)))
        dataset = load_csv(houses, test_fraction=fraction)
        assert (len(dataset.train), len(dataset.test)) == (rows - held, held)
        assert sorted([*dataset.train.y, *dataset.test.y]) == list(range(rows))


class TestStandardise:
    ASKED = Config(synthetic=Synthetic(samples=200, features=3))

    def test_features_have_mean_0_and_deviation_1(self, houses: Path) -> None:
        write(houses, "a,b,y", *(f"{n},{n * n},{n}" for n in range(20)))
        train = load_csv(houses, standardise=True).train
        assert train.x.mean(axis=0) == pytest.approx([0, 0], abs=1e-12)
        assert train.x.std(axis=0) == pytest.approx([1, 1])

    def test_original_units_predict_the_same(self, tmp_path: Path) -> None:
        plain = self.ASKED.load(tmp_path)
        standard = replace(self.ASKED, standardise=True).load(tmp_path)
        w, b = standard.original_units(*least_squares(standard.train))
        truth_w, truth_b = least_squares(plain.train)
        assert [*w, b] == pytest.approx([*truth_w, truth_b])
        assert np.allclose(standard.original_points(standard.test).x, plain.test.x)

    def test_without_it_original_units_change_nothing(self, tmp_path: Path) -> None:
        w, b = Config().load(tmp_path).original_units(0.25, 0.8)
        assert (w.tolist(), b) == ([0.25], 0.8)

    def test_a_constant_feature_is_refused(self, houses: Path) -> None:
        assert refusal(houses, "x,y", "0.1,1", "0.1,2", "0.1,3", "0.1,4", standardise=True) == (
            "houses.csv, column 'x': all 3 training rows contain the same number, which cannot be standardised; "
            "remove the column, or set standardise: false"
        )


class TestSynthetic:
    def test_a_fifth_more_rows_are_tested_on(self, tmp_path: Path) -> None:
        dataset = Config(synthetic=Synthetic(samples=50, features=4)).load(tmp_path)
        assert (dataset.train.x.shape, dataset.test.x.shape) == ((50, 4), (10, 4))

    def test_without_noise_the_points_lie_on_a_plane(self, tmp_path: Path) -> None:
        dataset = Config(synthetic=Synthetic(samples=50, features=4, noise=0)).load(tmp_path)
        assert cost(dataset.test, *least_squares(dataset.train)) < 1e-20

    def test_the_seed_decides(self, tmp_path: Path) -> None:
        one, same, other = (Config(synthetic=Synthetic(seed=seed)).load(tmp_path) for seed in (1, 1, 2))
        assert np.array_equal(one.train.x, same.train.x)
        assert not np.array_equal(one.train.x, other.train.x)

    @pytest.mark.parametrize("samples", [10**14, 10**19])
    def test_more_than_memory_holds_is_refused(self, tmp_path: Path, samples: int) -> None:
        with pytest.raises(ValueError, match=r".") as refused:
            Config(synthetic=Synthetic(samples=samples)).load(tmp_path)
        assert str(refused.value) == (
            f"synthetic: samples: {samples} with features: 1 does not fit into memory; ask for fewer"
        )
