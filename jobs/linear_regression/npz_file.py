"""Reads the points of an .npz file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.linear_regression.points import FloatArray, Points, feature_names

TRAIN, TEST = ("x", "y"), ("x_test", "y_test")


def read_npz(path: Path, file: str) -> tuple[Points, Points | None]:
    """Return the points of the arrays x and y and, if the file has them, of x_test and y_test.

    x: (rows, features) or (rows,).  y: (rows,) or (rows, 1).  Raises ValueError with the file, the array, what was
    found and what is allowed.
    """
    arrays = _arrays(path, file)
    has_test = not arrays.keys().isdisjoint(TEST)
    for name in TRAIN + TEST if has_test else TRAIN:
        if name not in arrays:
            raise ValueError(
                f"{file} has no array {name!r}; "
                "it needs x (rows × features) and y (rows), and may have x_test and y_test"
            )
    return _points(arrays, TRAIN, file), _points(arrays, TEST, file) if has_test else None


def _arrays(path: Path, file: str) -> dict[str, NDArray[Any]]:
    try:
        # np.load opens other kinds of files too: only an archive is a context manager. Nothing is ever unpickled.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name]) for name in archive.files if name in TRAIN + TEST}
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}") from None
    except Exception:  # noqa: BLE001  # a damaged archive makes numpy, zipfile and zlib raise almost anything
        raise ValueError(
            f"{file} is not an archive of number arrays; write it with numpy.savez({file!r}, x=x, y=y)"
        ) from None


def _points(arrays: Mapping[str, NDArray[Any]], names: tuple[str, str], file: str) -> Points:
    x, y = (_numbers(name, arrays[name], file) for name in names)
    x = x.reshape(-1, 1) if x.ndim == 1 else x
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
    if x.ndim != 2 or x.shape[1] == 0 or y.ndim != 1:
        raise ValueError(
            f"{file}: {names[0]} has shape {x.shape} and {names[1]} {y.shape}; "
            f"{names[0]} must be (rows, features) and {names[1]} (rows,)"
        )
    if len(x) != len(y):
        raise ValueError(f"{file}: {names[0]} has {len(x)} rows and {names[1]} has {len(y)}; the numbers must be equal")
    return Points(x, y, feature_names(x.shape[1]), "y")


def _numbers(name: str, values: NDArray[Any], file: str) -> FloatArray:
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{file}: {name} holds {values.dtype}; it must hold real numbers")
    numbers = values.astype(np.float64)
    bad = np.argwhere(~np.isfinite(numbers))
    if len(bad):
        index = ", ".join(map(str, bad[0]))
        more = f" (and {len(bad) - 1} more below)" if len(bad) > 1 else ""
        found = numbers[tuple(bad[0])]
        raise ValueError(f"{file}: {name}[{index}] is {found}{more}; every value must be a finite number")
    return numbers
