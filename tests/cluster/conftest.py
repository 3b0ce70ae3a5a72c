"""Real clusters: the launcher as a user starts it, TensorFlow processes, TensorFlow's own gRPC between them.

The runs here are each made once and looked at by tests of several files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.processes import warm_spawners
from tests.support.workplace import Ran, Workplace

# 51 steps in calls of 20: the last call of an epoch's reports, and of the run, is shorter.
UNEVEN = {"args": {"epochs": 3, "report_every": 2, "steps_per_call": 20}}
# Every task that a mode can have, and what the workers shall have.
WHOLE = {"worker": {"tasks": 2, "cpus": 1, "gpus": 0}, "ps": 1, "evaluator": 1}
# Three steps an epoch, since the rows that are left over wait their turn: 900 steps, a report every 75 of them.
SHUFFLED = {"epochs": 300, "report_every": 25, "batch_size": 5, "learning_rate": 0.0002}
# A generator made in build() is saved with the rest of the job; each replica draws numbers of its own from it.
RANDOM = """
import tensorflow as tf
from jobs.linear_regression.job import LinearRegression

class RandomWalk(LinearRegression):
    def build(self):
        super().build()
        self.random = tf.random.Generator.from_seed(7)
        self.walk = tf.Variable(0.0, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def train_step(self, batch):
        self.walk.assign_add(self.sum_over_replicas(self.random.normal([])))
        return super().train_step(batch)

    def evaluate(self):
        return {**super().evaluate(), "walk": self.walk}
"""
WALK: dict[str, Any] = {"job": "walk.py", "args": SHUFFLED, "run": {"checkpoint": {"every": "100 steps"}}}


def write_walk(place: Workplace) -> None:
    """Write the job that shuffles and draws random numbers, on two workers."""
    (place.directory / "walk.py").write_text(RANDOM)
    place.write(**WALK)


@pytest.fixture(scope="session")
def runtime() -> Iterator[str]:
    """The directory of the spawners that are kept warm for the runs of this session."""
    with warm_spawners() as directory:
        yield directory


@pytest.fixture
def warm(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the tasks of this test's runs from an import of TensorFlow that was there before.

    For tests of what TensorFlow does, and of how a run ends. Those of starts, of faults, and the runs that many tests
    look at, begin with an import, so that nothing depends on a spawner's second run.
    """
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    monkeypatch.setattr(Workplace, "settings", {"keep_warm": "10m"})


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A synchronous run that shuffles and draws random numbers, and that nothing happens to."""
    place = Workplace(tmp_path_factory.mktemp("walk"))
    write_walk(place)
    return place.finish(place.start("run"))


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A single process on the full batch."""
    cluster = {"worker": {"tasks": 1, "gpus": 0}}
    return Workplace(tmp_path_factory.mktemp("alone")).run(cluster=cluster, **UNEVEN)


@pytest.fixture(scope="session")
def chief(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The same on a chief and a worker, whose cores nobody chose."""
    cluster = {"chief": {"gpus": 0}, "worker": {"gpus": 0}, "ps": 1}
    return Workplace(tmp_path_factory.mktemp("chief")).run(cluster=cluster, **UNEVEN)


@pytest.fixture(scope="session")
def sync(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A synchronous run of every kind of task that there is, whose files many tests look at."""
    place = Workplace(tmp_path_factory.mktemp("sync"))
    return place.run(cluster=WHOLE, args={"epochs": 100}, run={"checkpoint": {"every": "500 steps", "keep": 2}})


@pytest.fixture(scope="session")
def asynchronous(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """An asynchronous run of every kind of task that there is."""
    return Workplace(tmp_path_factory.mktemp("async")).run(mode="async", cluster=WHOLE, args={"epochs": 150})
