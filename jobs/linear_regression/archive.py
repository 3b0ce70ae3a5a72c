"""Reads the arrays of an .npz file, or says in a sentence what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.linear_regression.table import FloatArray

Arrays = tuple[FloatArray, FloatArray]  # (rows, features), (rows,)

TRAIN, TEST = ("x", "y"), ("x_test", "y_test")


def read_npz(path: Path, file: str) -> tuple[Arrays, Arrays | None]:
    """Return (x, y) and, where the file has them, (x_test, y_test), as float64."""
    arrays = _arrays(path, file)
    _check_names(arrays, file)
    train = _pair(arrays, TRAIN, file)
    if TEST[0] not in arrays:
        return train, None
    return train, _pair(arrays, TEST, file)


def _arrays(path: Path, file: str) -> dict[str, NDArray[Any]]:
    try:
        # np.load opens other kinds of files too: what is no archive is refused, and nothing is ever unpickled.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name]) for name in archive.files if name in TRAIN + TEST}
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}") from None
    except Exception:  # noqa: BLE001  # a damaged archive makes numpy, zipfile and zlib raise almost anything
        raise ValueError(
            f"{file} is not an archive of number arrays; write it with numpy.savez({file!r}, x=x, y=y)"
        ) from None


def _check_names(arrays: Iterable[str], file: str) -> None:
    found = set(arrays)
    needed = TRAIN + TEST if found & set(TEST) else TRAIN
    missing = [name for name in needed if name not in found]
    if missing:
        raise ValueError(
            f"{file} has no array {' and no array '.join(map(repr, missing))}; "
            "it needs x (rows × features) and y (rows), and may have x_test and y_test"
        )


def _pair(arrays: Mapping[str, NDArray[Any]], names: tuple[str, str], file: str) -> Arrays:
    x, y = (_numbers(name, arrays[name], file) for name in names)
    x = x.reshape(-1, 1) if x.ndim == 1 else x
    y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
    if x.ndim != 2 or x.shape[1] == 0 or y.ndim != 1:
        raise ValueError(
            f"{file}: {names[0]} has shape {x.shape} and {names[1]} {y.shape}; "
            f"{names[0]} must be (rows, features) and {names[1]} (rows,)"
        )
    if len(x) != len(y):
        raise ValueError(f"{file}: {names[0]} has {len(x)} rows and {names[1]} has {len(y)}; they must have as many")
    return x, y


def _numbers(name: str, values: NDArray[Any], file: str) -> FloatArray:
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{file}: {name} holds {values.dtype}; it must hold real numbers")
    numbers = values.astype(np.float64)
    bad = ~np.isfinite(numbers)
    if bad.any():
        place = np.unravel_index(np.argmax(bad), bad.shape)
        index = ", ".join(str(axis) for axis in place)
        more = f" (and {bad.sum() - 1} more below)" if bad.sum() > 1 else ""
        raise ValueError(f"{file}: {name}[{index}] is {numbers[place]}{more}; every value must be a finite number")
    return numbers
