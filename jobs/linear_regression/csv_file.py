"""Reads the points of a CSV file with pandas; the csv module of Python finds the line of what is wrong."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from io import StringIO
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from jobs.linear_regression.points import Points

SHOWN = 10  # columns that one message names


def read_csv(path: Path, file: str, target: str, features: tuple[str, ...] = ()) -> Points:
    """Return the points of a UTF-8 CSV file with a header, separated by comma, or else by semicolon or tab.

    features: columns; without any, every column but the target in which more than half of the cells are numbers.
    Raises ValueError, a line for each problem, with file, line, column, what was found and what is allowed.
    """
    table = _Table(file, _text(path, file))
    table.require(target, "target")
    for name in features:
        table.require(name, "a feature of the training data")
    numeric = table.numbers.notna().mean() > 0.5
    if not numeric[target]:
        raise ValueError(f"{table.flaw(target)}; the target must be a column of numbers")
    features = features or tuple(name for name in table.cells if numeric[name] and name != target)
    if not features:
        raise ValueError(f"{file} has no column of numbers besides the target {target!r}; it needs a feature")
    table.require_numbers([*features, target])
    numbers = np.ascontiguousarray(table.numbers[[*features, target]])
    return Points(numbers[:, :-1], numbers[:, -1], features, target)


@dataclass(frozen=True)
class _Table:
    """A CSV file; ``file`` is its name as the user wrote it."""

    file: str
    text: str

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The cells below the header as text, a column for each name; cells that a short row lacks are empty."""
        try:
            # The header is read as a row like any other: it decides how many cells a row may have.
            rows = pd.read_csv(
                StringIO(self.text, newline=""),
                sep=self.separator,
                header=None,
                dtype=str,
                keep_default_na=False,
                skipinitialspace=True,
            )
        except pd.errors.EmptyDataError:
            raise ValueError(
                f"{self.file} is empty; it needs a header with the names of the columns, and rows of numbers"
            ) from None
        except pd.errors.ParserError as error:
            raise ValueError(self._not_csv(error)) from None
        cells = rows[1:].set_axis(self._names(rows.iloc[0]), axis="columns")
        if cells.empty:
            raise ValueError(f"{self.file} has a header but no rows; add rows of numbers below it")
        return cells

    @cached_property
    def numbers(self) -> pd.DataFrame:
        """The cells as float64; NaN for what is not a number."""
        return self.cells.apply(pd.to_numeric, errors="coerce").astype(np.float64)

    @cached_property
    def separator(self) -> str:
        """The mark between two cells, as the first line that is not blank shows it."""
        header = self.text.lstrip().partition("\n")[0]
        return next((mark for mark in ",;\t" if mark in header), ",")

    def require(self, name: str, role: str) -> None:
        """Raise ValueError, with the nearest name, if there is no column of this name."""
        if name in self.cells:
            return
        near = get_close_matches(name, self.cells, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"{self.file} has no column {name!r} ({role}); {hint}its columns are {_listed(self.cells)}")

    def require_numbers(self, names: Iterable[str]) -> None:
        """Raise ValueError, a line for each column, if a cell of these columns is not a finite number."""
        bad = [name for name in names if not np.isfinite(self.numbers[name]).all()]
        if bad:
            flaws = [f"{self.flaw(name)}; write a number, or remove the row" for name in bad[:SHOWN]]
            more = [f"{self.file}: {len(bad) - SHOWN} more columns have such cells"] if len(bad) > SHOWN else []
            raise ValueError("\n".join(flaws + more))

    def flaw(self, name: str) -> str:
        """Return where the first cell of a column is that is not a finite number, and what it contains."""
        bad = np.flatnonzero(~np.isfinite(self.numbers[name]))
        first = int(bad[0])
        line, _ = next(islice(self._rows(), first + 1, None))
        text, number = self.cells[name].iloc[first], self.numbers[name].iloc[first]
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        what = f"{shown!r} is not a {'number' if np.isnan(number) else 'finite number'}"
        more = f" (and {len(bad) - 1} more below)" if len(bad) > 1 else ""
        return f"{self.file}, line {line}, column {name!r}: {what if text.strip() else 'the cell is empty'}{more}"

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row that is not blank, the header first, with the number of the line on which it ends."""
        lines = StringIO(self.text, newline="")
        reader = csv.reader(lines, delimiter=self.separator, skipinitialspace=True, strict=True)
        try:
            for row in reader:
                if row and row != [""]:
                    yield reader.line_num, row
        except csv.Error as error:
            where = f"{self.file}, line {reader.line_num}"
            raise ValueError(f"{where}: not CSV ({error}); correct the quotes of the row") from None

    def _not_csv(self, error: Exception) -> str:
        width = 0
        for line, row in self._rows():
            width = width or len(row)
            if len(row) > width:
                return f"{self.file}, line {line}: {len(row)} cells, but the header has {width}; correct the row"
        return f"{self.file} is not CSV: {error}"

    def _names(self, header: Iterable[str]) -> list[str]:
        """Return the names of the columns; ValueError if they cannot be names."""
        names = [" ".join(name.split()) for name in header]
        line, _ = next(self._rows())
        where = f"{self.file}, line {line}"
        if pd.to_numeric(pd.Series(names), errors="coerce").notna().all():
            raise ValueError(f"{where}: {_listed(names)} are numbers, not names; put a header above them, like x,y")
        if "" in names:
            raise ValueError(f"{where}: column {names.index('') + 1} has no name; name it, or remove the column")
        name, times = Counter(names).most_common(1)[0]
        if times > 1:
            raise ValueError(f"{where}: {times} columns are named {name!r}; give each a name of its own")
        return names


def _text(path: Path, file: str) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{file}, line {line}: this is not UTF-8 text; save the file as CSV in UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{file} is a binary file; save it as CSV in UTF-8")
    return text


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown[:SHOWN]) + (f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else "")
