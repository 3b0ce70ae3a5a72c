"""Points that a line, or with several features a plane, is fitted to, and how good a fit is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Points:
    """Rows to train or to test on.

    x: (rows, features) float64.  y: (rows,) float64.  features, target: their names.
    """

    x: FloatArray
    y: FloatArray
    features: tuple[str, ...]
    target: str

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: slice | NDArray[np.int64]) -> Points:
        """Return these rows, in this order."""
        return replace(self, x=self.x[rows], y=self.y[rows])


def feature_names(features: int) -> tuple[str, ...]:
    """Return names for features that have none: x, or x0, x1, …."""
    return ("x",) if features == 1 else tuple(f"x{index}" for index in range(features))


def cost(points: Points, w: ArrayLike, b: float) -> float:
    """Return Σ(prediction - y)² / (2 rows) for a W of (features,) and b."""
    errors = points.x @ np.asarray(w, dtype=np.float64).reshape(-1) + b - points.y
    return float(errors @ errors) / (2 * len(points))


def least_squares(points: Points) -> tuple[FloatArray, float]:
    """Return the (features,) W and the b with the smallest cost on these points, which training approaches."""
    solution: FloatArray = np.linalg.lstsq(_with_ones(points), points.y, rcond=None)[0].astype(np.float64)
    return solution[:-1], float(solution[-1])


def largest_learning_rate(points: Points) -> float:
    """Return the learning rate at and above which full-batch gradient descent on these points does not converge."""
    columns = _with_ones(points)
    return float(2 * len(points) / np.linalg.eigvalsh(columns.T @ columns)[-1])


def _with_ones(points: Points) -> FloatArray:
    return np.column_stack([points.x, np.ones(len(points))])
