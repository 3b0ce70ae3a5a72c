"""CSV files for the tests of the linear regression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.linear_regression.config import Config
from jobs.linear_regression.data import Dataset

ROWS = ["1,2", "2,3", "3,5", "4,4", "5,7"]


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    return tmp_path / "houses.csv"


def write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def load_csv(path: Path, target: str = "y", **settings: Any) -> Dataset:
    return Config(data=path.name, target=target, **settings).load(path.parent)


def refusal(path: Path, *lines: str, **settings: Any) -> str:
    if lines:
        write(path, *lines)
    with pytest.raises(ValueError, match=r".") as refused:
        load_csv(path, **settings)
    return str(refused.value)
