"""The settings of the linear regression: `args` of a cluster file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.linear_regression.data import Dataset

KINDS = (".csv", ".npz")
BUNDLED_STEPS = 17  # the tutorial takes one full-batch step for each of its 17 training points, every epoch


@dataclass(frozen=True)
class Synthetic:
    """Data drawn at random: x, W and b from N(0, 1), y = x·W + b + noise · N(0, 1).

    samples: training rows, at least 2; a fifth as many more are drawn for the test.
    features: columns of x, at least 1.
    noise: standard deviation of what is added to y, in the units of y.
    seed: of everything that is drawn.
    """

    samples: int = 1000
    features: int = 1
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError, a line for each value that is not allowed."""
        _raise_all(
            [
                *_at_least("synthetic.samples", self.samples, 2),
                *_at_least("synthetic.features", self.features, 1),
                *_at_least("synthetic.seed", self.seed, 0),
                *_finite("synthetic.noise", self.noise, zero=True),
            ]
        )


@dataclass(frozen=True)
class Config:
    """The keys of `args`.

    epochs: passes over the training data.
    learning_rate: step length of plain gradient descent.
    seed: of the initial W and b, of the order of the batches, and of the rows that are held out for the test.
    batch_size: rows of a global batch; None is the full batch.
    shuffle: whether each epoch visits the rows in a new order; only matters with batch_size.
    steps_per_epoch: gradient steps of an epoch; None leaves it to `epoch_steps`.
    report_every: epochs between two reports.
    steps_per_call: gradient steps of one dispatch to TensorFlow.
    data: a .csv or .npz file, relative to the cluster file; None is the tutorial's points.
    test_data: a file of the same kind for the test; None holds out test_fraction of the rows of data.
    test_fraction: share of the rows that is held out, between 0 and 1.
    target: the column of a CSV file to predict; every other numeric column is a feature.
    standardise: whether features become (x - mean) / deviation, both of the training rows.
    synthetic: data to draw instead of reading any.
    """

    epochs: int = 1000
    learning_rate: float = 0.01
    seed: int = 1
    batch_size: int | None = None
    shuffle: bool = True
    steps_per_epoch: int | None = None
    report_every: int = 50
    steps_per_call: int = 170
    data: str | None = None
    test_data: str | None = None
    test_fraction: float = 0.2
    target: str | None = None
    standardise: bool = False
    synthetic: Synthetic | None = None

    def __post_init__(self) -> None:
        """Raise ValueError, a line for each value, or pair of values, that is not allowed."""
        _raise_all([*self._bad_numbers(), *self._bad_files()])

    def load(self, directory: Path) -> Dataset:
        """Return the data; relative paths start at directory. ValueError, a line for each problem, if unusable."""
        from jobs.linear_regression import data  # numpy, which the settings alone do not need

        if self.synthetic:
            dataset = data.drawn(**asdict(self.synthetic))
        elif self.data is None:
            dataset = data.bundled()
        else:
            dataset = data.from_files(directory, self.data, self.test_data, self.target, self.test_fraction, self.seed)
        data.check(dataset, self.batch_size)
        return data.standardised(dataset) if self.standardise else dataset

    def check(self, directory: Path) -> None:
        """Raise ValueError if the data is unusable; the launcher calls it before it starts a task."""
        self.load(directory)

    def epoch_steps(self, rows: int) -> int:
        """Return the gradient steps of one epoch of this many training rows."""
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        if self.batch_size is not None:
            return max(1, rows // self.batch_size)
        return 1 if self.data or self.synthetic else BUNDLED_STEPS

    def _bad_numbers(self) -> Iterator[str]:
        for name in ("epochs", "batch_size", "steps_per_epoch", "report_every", "steps_per_call"):
            yield from _at_least(name, getattr(self, name), 1)
        yield from _at_least("seed", self.seed, 0)
        yield from _finite("learning_rate", self.learning_rate, zero=False)
        if not 0 < self.test_fraction < 1:
            yield f"test_fraction is {self.test_fraction}; it must be between 0 and 1, like 0.2"

    def _bad_files(self) -> Iterator[str]:
        if self.data is None:
            for name in ("test_data", "target"):
                if getattr(self, name) is not None:
                    yield f"{name} is given without data; give data a .csv or .npz file, or remove {name}"
            return
        if self.synthetic:
            yield "data and synthetic are both given; keep one of them"
        yield from self._bad_kinds(self.data)

    def _bad_kinds(self, data: str) -> Iterator[str]:
        kind = Path(data).suffix.lower()
        if kind not in KINDS:
            yield f"data is {data!r}; it must be a file that ends in .csv or .npz"
            return
        if self.test_data is not None and Path(self.test_data).suffix.lower() != kind:
            yield f"test_data is {self.test_data!r}; it must be a {kind} file, as data is"
        if kind == ".csv" and self.target is None:
            yield f"target is missing; it must name the column of {data} to predict, like target: price"
        if kind == ".npz" and self.target is not None:
            yield f"target is {self.target!r}, but an .npz file always predicts its array y; remove target"


def _at_least(name: str, value: int | None, least: int) -> Iterator[str]:
    if value is not None and value < least:
        yield f"{name} is {value}; it must be a whole number of at least {least}"


def _finite(name: str, value: float, *, zero: bool) -> Iterator[str]:
    if not isfinite(value) or value < 0 or (value == 0 and not zero):
        yield f"{name} is {value}; it must be a finite number {'of at least' if zero else 'above'} 0"


def _raise_all(problems: list[str]) -> None:
    if problems:
        raise ValueError("\n".join(problems))
