"""Reads a CSV file into columns of numbers, or says in a sentence where and why it cannot."""

from __future__ import annotations

import csv
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

CHUNK = 10_000  # rows turned around at a time: millions of rows never lie in memory as text
SHOWN = 10  # columns or flaws named in one message


@dataclass
class Column:
    """A column: its cells as float64 (NaN where a cell is no finite number), and what is wrong with the first of those.

    A column is numeric when more than half of its cells are numbers; NaN and infinity count as numbers here, so that a
    column of measurements that failed is complained about and not left out.
    """

    name: str
    cells: array[float] = field(default_factory=lambda: array("d"))
    numbers: int = 0
    flaws: int = 0
    first_flaw: tuple[int, str] = (0, "")  # line, what is wrong

    @property
    def numeric(self) -> bool:
        """Whether more than half of the cells are numbers."""
        return 2 * self.numbers > len(self.cells)

    @property
    def values(self) -> FloatArray:
        """The cells, (rows,), without a copy."""
        return np.frombuffer(self.cells, dtype=np.float64)

    def add(self, lines: Sequence[int], texts: Sequence[str]) -> None:
        """Append the cells that stand on these lines."""
        cells = _all_finite(texts)
        if cells is not None:
            self.cells.extend(cells)
            self.numbers += len(cells)
            return
        for line, text in zip(lines, texts, strict=True):
            self._add_one(line, text)

    def _add_one(self, line: int, text: str) -> None:
        value = _number(text)
        self.numbers += value is not None
        finite = value is not None and isfinite(value)
        self.cells.append(value if value is not None and finite else np.nan)
        if not finite:
            self.first_flaw = self.first_flaw if self.flaws else (line, _flaw(text, value))
            self.flaws += 1


@dataclass(frozen=True)
class Table:
    """The columns of a CSV file by name; ``file`` is its name as the user wrote it."""

    file: str
    columns: dict[str, Column]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())).cells)

    def column(self, name: str, role: str) -> Column:
        """Return a column; ValueError names the nearest one where there is none of this name."""
        if name in self.columns:
            return self.columns[name]
        near = get_close_matches(name, self.columns, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"{self.file} has no column {name!r} ({role}); {hint}its columns are {_listed(self.columns)}")

    def numbers(self, names: Iterable[str]) -> FloatArray:
        """Return columns side by side, (rows, names); ValueError names the line of each one's first flaw."""
        columns = [self.columns[name] for name in names]
        flaws = [self._sentence(column) for column in columns if column.flaws]
        if flaws:
            more = [f"{self.file}: {len(flaws) - SHOWN} more columns have such cells"] if len(flaws) > SHOWN else []
            raise ValueError("\n".join(flaws[:SHOWN] + more))
        return np.column_stack([column.values for column in columns])

    def _sentence(self, column: Column) -> str:
        line, what = column.first_flaw
        more = f" (and {column.flaws - 1} more below)" if column.flaws > 1 else ""
        return f"{self.file}, line {line}, column {column.name!r}: {what}{more}; write a number, or remove the row"


def read_csv(path: Path, file: str) -> Table:
    """Read a UTF-8 CSV file with a header; comma separated, or by ; or tab where the header has no comma."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return _read(stream, file)
    except UnicodeDecodeError:
        line = _undecodable_line(path)
        raise ValueError(f"{file}, line {line}: this is not UTF-8 text; save the file as CSV in UTF-8") from None
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None


def _read(stream: TextIO, file: str) -> Table:
    rows = _rows(stream, file)
    line, header = next(rows, (0, []))
    if not header:
        raise ValueError(f"{file} is empty; it needs a header with the names of the columns, and rows of numbers")
    columns = [Column(name) for name in _names(header, line, file)]
    while chunk := list(islice(rows, CHUNK)):
        lines = [line for line, _ in chunk]
        for column, texts in zip(columns, zip(*(row for _, row in chunk), strict=True), strict=True):
            column.add(lines, texts)
    if not columns[0].cells:
        raise ValueError(f"{file} has a header but no rows; add rows of numbers below it")
    return Table(file, {column.name: column for column in columns})


def _rows(stream: TextIO, file: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank with the line it ends on; the first one sets the number of cells."""
    reader = csv.reader(stream, delimiter=_delimiter(stream), skipinitialspace=True, strict=True)
    width = 0
    try:
        for row in reader:
            if not row or row == [""]:
                continue
            width = width or len(row)
            if len(row) != width:
                found = f"{len(row)} {'cell' if len(row) == 1 else 'cells'}"
                raise ValueError(f"{file}, line {reader.line_num}: {found} where the header has {width}; mend the row")
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"{file}, line {reader.line_num}: not CSV ({error}); mend the quotes of the row") from None


def _delimiter(stream: TextIO) -> str:
    head = next((line for line in iter(stream.readline, "") if line.strip()), "")
    stream.seek(0)
    return next((mark for mark in ",;\t" if mark in head), ",")


def _names(header: Sequence[str], line: int, file: str) -> list[str]:
    """Return the names of the columns, stripped; ValueError where they cannot be names."""
    names = [" ".join(name.split()) for name in header]
    where = f"{file}, line {line}"
    if "\0" in "".join(names):
        raise ValueError(f"{file} is a binary file; save it as CSV in UTF-8")
    if all(_number(name) is not None for name in names):
        raise ValueError(f"{where}: {_listed(names)} are numbers, not names; put a header above them, like x,y")
    if "" in names:
        raise ValueError(f"{where}: column {names.index('') + 1} has no name; name it, or remove the column")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{where}: {times} columns are named {name!r}; give each its own name")
    return names


def _all_finite(texts: Sequence[str]) -> array[float] | None:
    """Return the numbers where every cell is a finite one: the quick way, that whole chunks of good files take."""
    try:
        cells = array("d", map(float, texts))
    except ValueError:
        return None
    return cells if np.isfinite(cells).all() and "_" not in "".join(texts) else None


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)  # Python reads 1_000 as a number, no other program does
    except ValueError:
        return None


def _flaw(text: str, value: float | None) -> str:
    if not text.strip():
        return "the cell is empty"
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    return f"{shown!r} is not a {'number' if value is None else 'finite number'}"


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown[:SHOWN]) + (f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else "")
