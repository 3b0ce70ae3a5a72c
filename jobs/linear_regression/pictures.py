"""Draws what was learned: the points with the fitted line, and the way of the cost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jobs.linear_regression.data import Points, cost
from jobs.linear_regression.table import FloatArray

RED, BLUE, LINE = "#d62728", "#1f5fb4", "#222222"
DRAWN = 2000  # points; more only make a blot
LARGEST = 1e100  # matplotlib's arithmetic of axes overflows on what is much larger


def train_picture(path: Path, points: Points, w: ArrayLike, b: float) -> None:
    """Draw the training points in red with the fitted line; w is a number or (features,), in the units of the points.

    With several features: predicted over true target, and the diagonal where they are equal.
    """
    _points_picture(path, points, np.asarray(w, dtype=np.float64).reshape(-1), b, "training", RED)


def test_picture(path: Path, points: Points, w: ArrayLike, b: float) -> None:
    """Draw the test points in blue with the same line; as `train_picture` otherwise."""
    _points_picture(path, points, np.asarray(w, dtype=np.float64).reshape(-1), b, "test", BLUE)


def cost_picture(path: Path, epochs: Sequence[float], costs: Sequence[float]) -> None:
    """Draw the training cost over the epochs, on a log scale where it spans more than a factor of ten."""
    xs, ys = np.asarray(epochs, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    good = np.abs(ys) < LARGEST
    with _picture(path) as axes:
        lost = "" if good.all() else f" (not finite: {(~good).sum()} of {good.size})"
        axes.set_title(f"Cost over epochs{lost}")
        axes.set_xlabel("epoch")
        axes.set_ylabel("cost = Σ(prediction - y)² / 2n")
        if good.any():
            _draw_costs(axes, xs[good], ys[good])
        else:
            _write_across(axes, "no finite cost was reported", RED)


def _draw_costs(axes: Axes, epochs: FloatArray, costs: FloatArray) -> None:
    # A line needs two ends, and a few points are easier to believe when each is seen.
    marker, size = "o" if len(costs) <= 40 else "", 5 if len(costs) > 1 else 10
    label = f"training cost, {costs[-1]:.6g} at the end"
    axes.plot(epochs, costs, color=RED, linewidth=2, marker=marker, markersize=size, label=label)
    axes.ticklabel_format(axis="y", useOffset=False)  # 0.07693, not 13 and somewhere above it 1e-7+7.692e-2
    if costs.min() > 0 and costs.max() > 10 * costs.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.legend(loc="best")


def _points_picture(path: Path, points: Points, w: FloatArray, b: float, kind: str, colour: str) -> None:
    shown = points.take(_sample(len(points)))
    with np.errstate(over="ignore", invalid="ignore"):  # W and b of a training that diverged
        predicted = shown.x @ w + b
        error = cost(points, w, b)
    finite = bool(np.all(np.abs(predicted) < LARGEST))
    label = f"{kind} points ({len(points):,})"
    if len(shown) < len(points):
        label = f"{len(shown):,} of {len(points):,} {kind} points"
    with _picture(path) as axes:
        axes.set_title(f"Linear regression: {kind} points, cost {error:.6g}")
        if len(points.features) == 1:
            _draw_line(axes, shown, (w[0], b) if finite else None)
            _scatter(axes, shown.x[:, 0], shown.y, colour, label)
            _name(axes, points.features[0], points.target)
        else:
            _draw_diagonal(axes, shown.y)
            if finite:
                _scatter(axes, shown.y, predicted, colour, label)
            _name(axes, f"true {points.target}", f"predicted {points.target}")
        if not finite:
            _write_across(axes, "W and b diverged: no prediction can be drawn", colour)
        _draw_legend(axes)


def _sample(rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if rows <= DRAWN:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, DRAWN, replace=False))


def _draw_line(axes: Axes, points: Points, line: tuple[float, float] | None) -> None:
    if line is None:
        return
    w, b = line
    low, high = points.x.min(), points.x.max()
    margin = 0.05 * (high - low) or 1.0
    ends = np.array([low - margin, high + margin])
    axes.plot(ends, w * ends + b, color=LINE, linewidth=2, label=f"fitted line: W = {w:.6g}, b = {b:.6g}")


def _draw_diagonal(axes: Axes, y: FloatArray) -> None:
    margin = 0.05 * np.ptp(y) or 1.0
    ends = np.array([y.min() - margin, y.max() + margin])
    axes.plot(ends, ends, color=LINE, linewidth=2, label="prediction = truth")


def _scatter(axes: Axes, x: FloatArray, y: FloatArray, colour: str, label: str) -> None:
    few = len(x) <= 200
    axes.scatter(x, y, s=50 if few else 12, color=colour, alpha=1.0 if few else 0.5, zorder=3, label=label)


def _name(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(_short(x), parse_math=False)  # a $ in the name of a column is a dollar
    axes.set_ylabel(_short(y), parse_math=False)


def _short(name: str) -> str:
    return name if len(name) <= 50 else f"{name[:49]}…"


def _write_across(axes: Axes, text: str, colour: str) -> None:
    box = {"facecolor": "white", "edgecolor": colour, "pad": 8}
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=18, color=colour, zorder=4, bbox=box)


def _draw_legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="best")


@contextmanager
def _picture(path: Path) -> Iterator[Axes]:
    """Give axes to draw on, and write them as a PNG of 960 × 640 pixels, whole or not at all."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the user may ask for LaTeX or for black on black
        matplotlib.rcParams["font.size"] = 12
        figure = Figure(figsize=(9.6, 6.4), dpi=100, layout="tight")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        yield axes
        axes.grid(alpha=0.3)
        _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(beside, format="png")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
