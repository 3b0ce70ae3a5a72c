"""A training of the linear regression that diverges, by what run.nan says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from jobs.linear_regression.config import Config, Synthetic
from jobs.linear_regression.job import LinearRegression
from launcher.rundir import RunFiles
from launcher.runtime.reporter import Reporter
from launcher.runtime.training.stop import Stop
from launcher.runtime.training.sync import SyncTrainer
from tests.unit.runtime.conftest import task_context


@pytest.fixture
def quiet() -> Iterator[None]:
    """Numpy's warnings about numbers that overflow are what happens here."""
    with np.errstate(all="ignore"):
        yield


def trainer(directory: Path, nan: str, **settings: object) -> SyncTrainer:
    context = task_context(directory=directory, nan=nan)
    job = LinearRegression(Config(**settings), context)  # type: ignore[arg-type]
    there = SyncTrainer(job, tf.distribute.OneDeviceStrategy("/cpu:0"), context, Reporter(context), Stop())
    there.prepare(0)
    return there


def test_a_training_that_diverges_ends_with_the_rate_below_which_it_would_not(tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError, match=r"the training diverged, .* converges below 0\.\d+; lower it"):
        trainer(tmp_path, "stop", learning_rate=1.0, epochs=9, report_every=1).train()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("epochs", "report_every"), [(6, 2), (60, 20)])
def test_it_goes_on_to_its_report_if_the_run_ignores_such_numbers(
    tmp_path: Path, epochs: int, report_every: int, capsys: pytest.CaptureFixture[str]
) -> None:
    there = trainer(tmp_path, "ignore", learning_rate=10.0, epochs=epochs, report_every=report_every)
    figures = there.train()
    assert figures is not None
    there.job.report(files := RunFiles(tmp_path), there.reporter.history)
    lines = list(map(json.loads, files.metrics.read_text().splitlines()))
    assert lines[-1]["epoch"] == epochs
    assert all(files.picture(name).is_file() for name in ("linear_train", "linear_test", "cost"))
    assert files.model.is_dir()
    assert f"Epoch: {epochs:04d} cost= " in capsys.readouterr().out


@pytest.mark.usefixtures("quiet")
def test_several_weights_that_are_not_numbers_are_shown_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Synthetic(samples=20, features=2)
    there = trainer(tmp_path, "ignore", learning_rate=1e6, epochs=200, synthetic=data)
    there.train()
    there.job.report(RunFiles(tmp_path), there.reporter.history)
    assert "W= [nan, nan] b= nan" in capsys.readouterr().out
