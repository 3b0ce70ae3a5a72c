"""Draws what was learned: the points with the fitted line, and the cost over the epochs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from jobs.linear_regression.points import FloatArray, Points, cost

RED, BLUE, LINE = "#d62728", "#1f5fb4", "#222222"
DRAWN = 2000  # points; more of them only cover each other


def train_picture(path: Path, points: Points, w: ArrayLike, b: float) -> None:
    """Draw the training points in red with the fitted line; w is a number or (features,), in the units of the points.

    With several features: the predicted over the true target, and the diagonal on which they are equal.
    """
    _points_picture(path, points, np.asarray(w, dtype=np.float64).reshape(-1), b, "training", RED)


def test_picture(path: Path, points: Points, w: ArrayLike, b: float) -> None:
    """Draw the test points in blue with the same line; otherwise as `train_picture`."""
    _points_picture(path, points, np.asarray(w, dtype=np.float64).reshape(-1), b, "test", BLUE)


def cost_picture(path: Path, costs: Sequence[tuple[float, float]]) -> None:
    """Draw (epoch, cost) pairs of the training, on a log scale if they span more than a factor of ten."""
    epochs, values = np.asarray(costs, dtype=np.float64).T
    few = len(values) <= 40  # then each point is marked; one alone has no line
    with _picture(path) as axes:
        axes.set_title("Cost over epochs")
        axes.set_xlabel("epoch")
        axes.set_ylabel("cost = Σ(prediction - y)² / 2n")
        label = f"training cost, {values[-1]:.6g} at the end"
        axes.plot(epochs, values, color=RED, linewidth=2, marker="o" if few else "", markersize=5, label=label)
        axes.ticklabel_format(axis="y", useOffset=False)  # 0.07693, not 13 with 1e-7+7.692e-2 above the axis
        if values.min() > 0 and values.max() > 10 * values.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.legend(loc="best")


def _points_picture(path: Path, points: Points, w: FloatArray, b: float, kind: str, colour: str) -> None:
    shown = points.take(_sample(len(points)))
    label = f"{kind} points ({len(points):,})"
    if len(shown) < len(points):
        label = f"{len(shown):,} of {len(points):,} {kind} points"
    with _picture(path) as axes:
        axes.set_title(f"Linear regression: {kind} points, cost {cost(points, w, b):.6g}")
        if len(points.features) == 1:
            _draw_line(axes, shown.x[:, 0], w[0], b, f"fitted line: W = {w[0]:.6g}, b = {b:.6g}")
            _scatter(axes, shown.x[:, 0], shown.y, colour, label)
            _name_axes(axes, points.features[0], points.target)
        else:
            _draw_line(axes, shown.y, 1.0, 0.0, "prediction = truth")
            _scatter(axes, shown.y, shown.x @ w + b, colour, label)
            _name_axes(axes, f"true {points.target}", f"predicted {points.target}")
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], loc="best")


def _sample(rows: int) -> slice | NDArray[np.int64]:
    if rows <= DRAWN:
        return slice(None)
    return np.sort(np.random.default_rng(0).choice(rows, DRAWN, replace=False))


def _draw_line(axes: Axes, x: FloatArray, w: float, b: float, label: str) -> None:
    margin = 0.05 * np.ptp(x) or 1.0
    ends = np.array([x.min() - margin, x.max() + margin])
    axes.plot(ends, w * ends + b, color=LINE, linewidth=2, label=label)


def _scatter(axes: Axes, x: FloatArray, y: FloatArray, colour: str, label: str) -> None:
    few = len(x) <= 200
    axes.scatter(x, y, s=50 if few else 12, color=colour, alpha=1.0 if few else 0.5, zorder=3, label=label)


def _name_axes(axes: Axes, x: str, y: str) -> None:
    # Names of columns can be long, and a $ in them is a dollar, not a formula.
    axes.set_xlabel(x[:50], parse_math=False)
    axes.set_ylabel(y[:50], parse_math=False)


@contextmanager
def _picture(path: Path) -> Iterator[Axes]:
    """Give axes to draw on, and write them as a PNG of 960 × 640 pixels, whole or not at all."""
    # "default": a matplotlibrc of the user may ask for LaTeX or for black on black.
    with matplotlib.style.context(["default", {"font.size": 12}]):
        figure = Figure(figsize=(9.6, 6.4), dpi=100, layout="tight")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        yield axes
        axes.grid(alpha=0.3)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            figure.savefig(temporary, format="png")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
