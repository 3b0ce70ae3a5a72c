"""The data to train and to test on: the tutorial's points, those of a file, or drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from jobs.linear_regression.npz_file import read_npz
from jobs.linear_regression.points import FloatArray, Points, feature_names

HERE = Path(__file__).parent
TRAINING_ROWS = 2  # the fewest that a line can be fitted to


@dataclass(frozen=True, eq=False)
class Dataset:
    """Points to train and to test on, as the model sees them: x = (original x - mean) / scale.

    source: where the points come from, in words.
    mean, scale: (features,), in the units of the features; 0 and 1 if nothing was standardised.
    """

    train: Points
    test: Points
    source: str
    mean: FloatArray | float = 0.0
    scale: FloatArray | float = 1.0

    def original_units(self, w: ArrayLike, b: float) -> tuple[FloatArray, float]:
        """Return the (features,) W and the b that predict the same from features that are not standardised."""
        original = np.asarray(w, dtype=np.float64).reshape(-1) / self.scale
        return original, float(b - original @ np.broadcast_to(self.mean, original.shape))

    def original_points(self, points: Points) -> Points:
        """Return the points with their features in original units."""
        return replace(points, x=points.x * self.scale + self.mean)


def bundled() -> Dataset:
    """Return the points of the tutorial that this job comes from."""
    rows = [np.loadtxt(HERE / file, delimiter=",", skiprows=1) for file in ("train.csv", "test.csv")]
    train, test = (Points(each[:, :-1], each[:, -1], ("x",), "y") for each in rows)
    return Dataset(train, test, "the bundled points")


def drawn(samples: int, features: int, noise: float, seed: int) -> Dataset:
    """Draw points at random, a fifth more for the test: x, W and b from N(0, 1), y = x·W + b + noise · N(0, 1)."""
    random = np.random.default_rng(seed)
    rows = samples + max(1, samples // 5)
    w, b = random.standard_normal(features), random.standard_normal()
    try:
        x = random.standard_normal((rows, features))
        y = x @ w + b + noise * random.standard_normal(rows)
    except (MemoryError, ValueError):  # ValueError: more than any machine could address
        size = f"samples: {samples} with features: {features}"
        raise ValueError(f"synthetic: {size} does not fit into memory; ask for fewer") from None
    points = Points(x, y, feature_names(features), "y")
    return Dataset(points.take(slice(samples)), points.take(slice(samples, None)), "the synthetic points")


def from_files(
    directory: Path, data: str, test_data: str | None, target: str | None, test_fraction: float, seed: int
) -> Dataset:
    """Return the points of a .csv file, if target names a column, or of an .npz file; paths start at directory.

    Without test points, test_fraction of the rows is held out, chosen by seed.
    Raises ValueError, a line for each problem, if a file cannot be used.
    """
    train, test = _read("data", data, directory, target)
    if test_data is not None:
        test, _ = _read("test_data", test_data, directory, target, train.features)
    if test is None:
        train, test = _split(train, test_fraction, seed, data)
    if len(test.features) != len(train.features):
        raise ValueError(
            f"{test_data or data}: the test points have {len(test.features)} features and the training points of "
            f"{data} have {len(train.features)}; the numbers must be equal"
        )
    return Dataset(train, test, data)


def check(dataset: Dataset, batch_size: int | None) -> None:
    """Raise ValueError with a sentence if the data cannot be trained on in batches of this size; None is all rows."""
    source, train, rows = dataset.source, dataset.train, len(dataset.train)
    if rows < TRAINING_ROWS or not len(dataset.test):
        raise ValueError(
            f"{source}: training rows: {rows}, test rows: {len(dataset.test)}; "
            f"at least {TRAINING_ROWS} and 1 are needed; add rows"
        )
    if np.ptp(train.y) == 0:
        raise ValueError(
            f"{source}, column {train.target!r}: all {rows} training rows contain {train.y[0]:g}; "
            "the target must vary, or there is nothing to learn"
        )
    if batch_size is not None and batch_size > rows:
        raise ValueError(
            f"batch_size is {batch_size}, more than the {rows} training rows of {source}; "
            f"it must be at most {rows}; leave it out for the full batch"
        )


def standardised(dataset: Dataset) -> Dataset:
    """Return the data with features of mean 0 and deviation 1; ValueError for one that never varies."""
    x = dataset.train.x
    for name, extent in zip(dataset.train.features, np.ptp(x, axis=0), strict=True):
        if extent == 0:
            raise ValueError(
                f"{dataset.source}, column {name!r}: all {len(x)} training rows contain the same number, which cannot "
                "be standardised; remove the column, or set standardise: false"
            )
    mean, scale = x.mean(axis=0), x.std(axis=0)
    train, test = (replace(points, x=(points.x - mean) / scale) for points in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test, mean=mean, scale=scale)


def _read(
    key: str, file: str, directory: Path, target: str | None, features: tuple[str, ...] = ()
) -> tuple[Points, Points | None]:
    path = _found(key, file, directory)
    if target is None:
        return read_npz(path, file)
    from jobs.linear_regression.csv_file import read_csv  # pandas takes a second to import

    return read_csv(path, file, target, features), None


def _found(key: str, file: str, directory: Path) -> Path:
    try:
        path = directory / Path(file).expanduser()
        there = path.exists()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{key}: {file} cannot be read: {error}") from None
    if not there:
        raise ValueError(f"{key}: there is no file {file} in {directory}; relative paths start beside the cluster file")
    if not path.is_file():
        raise ValueError(f"{key}: {file} is {'a directory' if path.is_dir() else 'not a regular file'}; name a file")
    return path


def _split(points: Points, fraction: float, seed: int, file: str) -> tuple[Points, Points]:
    """Hold rows out for the test; the rest keeps the order of the file."""
    rows = len(points)
    most = rows - TRAINING_ROWS
    if most < 1:
        raise ValueError(
            f"{file} has {rows} {'row' if rows == 1 else 'rows'}; it needs at least {TRAINING_ROWS} to train on "
            "and 1 to test on; add rows, or give test_data"
        )
    held = min(max(1, round(rows * fraction)), most)
    order = np.random.default_rng(seed).permutation(rows)
    return points.take(np.sort(order[held:])), points.take(np.sort(order[:held]))
