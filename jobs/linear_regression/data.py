"""The points to train and to test on: the tutorial's, those of a file, or drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jobs.linear_regression.archive import Arrays, read_npz
from jobs.linear_regression.table import FloatArray, Table, read_csv

if TYPE_CHECKING:
    from jobs.linear_regression.config import Config, Synthetic

HERE = Path(__file__).parent
BUNDLED = "the bundled points"
TRAINING_ROWS = 2  # the fewest that a line can be fitted to


@dataclass(frozen=True, eq=False)
class Points:
    """Rows to learn from or to test on.

    x: (rows, features) float64.  y: (rows,) float64.
    """

    x: FloatArray
    y: FloatArray
    features: tuple[str, ...]
    target: str

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: NDArray[np.int64]) -> Points:
        """Return these rows, in this order."""
        return replace(self, x=self.x[rows], y=self.y[rows])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Points to train and to test on, as the model sees them: x = (original x - mean) / scale.

    mean, scale: (features,), in the units of the features; 0 and 1 where nothing was standardised.
    ignored: names of the columns that are not numeric.
    source: where the points come from, in words.
    """

    train: Points
    test: Points
    mean: FloatArray
    scale: FloatArray
    source: str
    ignored: tuple[str, ...] = ()

    def original_units(self, w: ArrayLike, b: float) -> tuple[FloatArray, float]:
        """Return the (features,) W and the b that predict the same from features that are not standardised."""
        original = np.asarray(w, dtype=np.float64).reshape(-1) / self.scale
        return original, float(b - original @ self.mean)

    def original_points(self, points: Points) -> Points:
        """Return the points with their features as they were before they were standardised."""
        return replace(points, x=points.x * self.scale + self.mean)


def load(config: Config, directory: Path) -> Dataset:
    """Return the data that the settings ask for; relative paths start at directory.

    Raises ValueError with a sentence, or one a line, where it cannot be trained on.
    """
    dataset = _loaded(config, directory)
    _check_rows(dataset)
    rows = len(dataset.train)
    if config.batch_size is not None and config.batch_size > rows:
        raise ValueError(
            f"batch_size is {config.batch_size}, more than the {rows} training rows of {dataset.source}; "
            f"it must be at most {rows}; leave it out for the full batch"
        )
    return _standardised(dataset) if config.standardise else dataset


def least_squares(points: Points) -> tuple[FloatArray, float]:
    """Return the (features,) W and the b with the smallest cost on these points: the truth that training approaches."""
    columns = np.column_stack([points.x, np.ones(len(points))])
    solution: FloatArray = np.linalg.lstsq(columns, points.y, rcond=None)[0].astype(np.float64)
    return solution[:-1], float(solution[-1])


def cost(points: Points, w: ArrayLike, b: float) -> float:
    """Return Σ(prediction - y)² / (2 rows)."""
    errors = points.x @ np.asarray(w, dtype=np.float64).reshape(-1) + b - points.y
    return float(errors @ errors) / (2 * len(points))


def largest_learning_rate(points: Points) -> float:
    """Return the learning rate at and above which full-batch gradient descent on these points does not converge."""
    columns = np.column_stack([points.x, np.ones(len(points))])
    return float(2 * len(points) / np.linalg.eigvalsh(columns.T @ columns)[-1])


def _loaded(config: Config, directory: Path) -> Dataset:
    if config.synthetic:
        return _drawn(config.synthetic)
    if config.data is None:
        points = [_csv_points(read_csv(HERE / name, name), "y") for name in ("train.csv", "test.csv")]
        return _dataset(points[0], points[1], BUNDLED)
    read = _from_csv if config.target is not None else _from_npz
    return read(config, config.data, directory)


def _from_csv(config: Config, data: str, directory: Path) -> Dataset:
    target = config.target or ""
    table = read_csv(_found("data", data, directory), data)
    points = _csv_points(table, target)
    ignored = tuple(name for name in table.columns if name not in (*points.features, target))
    if config.test_data is None:
        train, test = _split(points, config, data)
    else:
        other = read_csv(_found("test_data", config.test_data, directory), config.test_data)
        train, test = points, _csv_points(other, target, points.features)
    return _dataset(train, test, data, ignored)


def _csv_points(table: Table, target: str, features: tuple[str, ...] = ()) -> Points:
    """Return target and features of a table; the features are by default all other numeric columns."""
    column = table.column(target, "target")
    if not column.numeric:
        line, what = column.first_flaw
        where = f"{table.file}, line {line}, column {target!r}"
        raise ValueError(f"{where}: {what}; the target must be a column of numbers")
    for name in features:
        table.column(name, "a feature of the training data")
    features = features or tuple(name for name, each in table.columns.items() if each.numeric and name != target)
    if not features:
        raise ValueError(f"{table.file} has no column of numbers beside the target {target!r}; it needs a feature")
    numbers = table.numbers((*features, target))
    return Points(numbers[:, :-1], numbers[:, -1], features, target)


def _from_npz(config: Config, data: str, directory: Path) -> Dataset:
    arrays, test_arrays = read_npz(_found("data", data, directory), data)
    file = data
    if config.test_data is not None:
        file = config.test_data
        test_arrays, _ = read_npz(_found("test_data", file, directory), file)
    points = _array_points(arrays)
    if test_arrays is None:
        return _dataset(*_split(points, config, data), data)
    test = _array_points(test_arrays)
    if test.features != points.features:
        raise ValueError(
            f"{file}: the test points have {len(test.features)} features and the training points of {data} have "
            f"{len(points.features)}; they must have as many"
        )
    return _dataset(points, test, data)


def _array_points(arrays: Arrays) -> Points:
    x, y = arrays
    return Points(x, y, _feature_names(x.shape[1]), "y")


def _feature_names(features: int) -> tuple[str, ...]:
    return ("x",) if features == 1 else tuple(f"x{index}" for index in range(features))


def _drawn(asked: Synthetic) -> Dataset:
    """Draw points at random, and a fifth more for the test."""
    random = np.random.default_rng(asked.seed)
    rows = asked.samples + max(1, asked.samples // 5)
    w, b = random.standard_normal(asked.features), random.standard_normal()
    try:
        x = random.standard_normal((rows, asked.features))
        y = x @ w + b + asked.noise * random.standard_normal(rows)
    except (MemoryError, ValueError):  # numpy calls what no machine could address a ValueError
        size = f"samples: {asked.samples} with features: {asked.features}"
        raise ValueError(f"synthetic: {size} does not fit into memory; ask for fewer") from None
    points = Points(x, y, _feature_names(asked.features), "y")
    every = np.arange(rows)
    return _dataset(points.take(every[: asked.samples]), points.take(every[asked.samples :]), "the synthetic points")


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


def _split(points: Points, config: Config, file: str) -> tuple[Points, Points]:
    """Hold rows out for the test, drawn by the seed; what is left keeps the order of the file."""
    rows = len(points)
    most = rows - TRAINING_ROWS
    if most < 1:
        raise ValueError(
            f"{file} has {rows} {'row' if rows == 1 else 'rows'}; it needs at least {TRAINING_ROWS} to train on "
            "and 1 to test on; add rows, or give test_data"
        )
    held = min(max(1, round(rows * config.test_fraction)), most)
    order = np.random.default_rng(config.seed).permutation(rows)
    return points.take(np.sort(order[held:])), points.take(np.sort(order[:held]))


def _dataset(train: Points, test: Points, source: str, ignored: tuple[str, ...] = ()) -> Dataset:
    features = len(train.features)
    return Dataset(train, test, np.zeros(features), np.ones(features), source, ignored)


def _check_rows(dataset: Dataset) -> None:
    train = dataset.train
    if len(train) < TRAINING_ROWS or not len(dataset.test):
        raise ValueError(
            f"{dataset.source}: training rows: {len(train)}, test rows: {len(dataset.test)}; "
            f"at least {TRAINING_ROWS} and 1 are needed; add rows"
        )
    if np.ptp(train.y) == 0:
        raise ValueError(
            f"{dataset.source}, column {train.target!r}: all {len(train)} training rows hold {train.y[0]:g}; "
            "the target must vary, or there is nothing to learn"
        )


def _standardised(dataset: Dataset) -> Dataset:
    """Bring the features to mean 0 and deviation 1; one that never varies has no deviation, and is refused."""
    x = dataset.train.x
    for name, extent in zip(dataset.train.features, np.ptp(x, axis=0), strict=True):
        if extent == 0:
            raise ValueError(
                f"{dataset.source}, column {name!r}: it holds the same number in all {len(x)} training rows and cannot "
                "be standardised; remove the column, or set standardise: false"
            )
    mean, scale = x.mean(axis=0), x.std(axis=0)
    train, test = (replace(points, x=(points.x - mean) / scale) for points in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test, mean=mean, scale=scale)
