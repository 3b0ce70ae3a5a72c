"""The job that a cluster file names."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from launcher.contract.args import job_module
from launcher.errors import UsageError
from launcher.runtime.job import Job
from launcher.runtime.training.load import build, load_job
from tests.unit.runtime.conftest import task_context

MINE = "from launcher.runtime.job import Job\nclass Mine(Job):\n    pass\n"
TWO = f"{MINE}class Yours(Job):\n    pass\n"
CONFIG = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Config:\n    rate: float = 0.5\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that modules are found in, and forgotten from afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(place: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def load(place: Path, job: str, **args: object) -> Job:
    return load_job(task_context(directory=place, job=job, args=args))


def refused(place: Path, job: str) -> str:
    with pytest.raises(UsageError) as caught:
        load(place, job)
    return str(caught.value)


def test_a_plain_name_is_a_module_of_jobs(place: Path) -> None:
    assert type(load(place, "hello")).__module__ == "jobs.hello"


def test_a_package_keeps_its_job_beside_its_config(place: Path) -> None:
    assert type(load(place, "linear_regression")).__module__ == "jobs.linear_regression.job"


def test_a_dotted_name_is_a_module_of_ones_own(place: Path) -> None:
    write(place, {"mine/training.py": MINE})
    assert type(load(place, "mine.training")).__name__ == "Mine"


def test_a_package_without_a_job_module_holds_the_job_itself(place: Path) -> None:
    write(place, {"mine/deep/__init__.py": MINE})
    assert type(load(place, "mine.deep")).__name__ == "Mine"


def test_a_script_is_found_from_the_cluster_file_and_imports_what_lies_beside_it(place: Path) -> None:
    script = f"import helper\n{MINE}    word = helper.WORD\n"
    write(place, {"code/helper.py": "WORD = 'beside'\n", "code/train.py": script})
    job = load(place, "code/train.py")
    assert vars(type(job))["word"] == "beside"


def test_args_reach_the_job_as_its_config(place: Path) -> None:
    write(place, {"train.py": f"{CONFIG}{MINE}    Config = Config\n"})
    job = load(place, "train.py", rate=0.25)
    assert job.config.rate == 0.25
    assert job.directory == place


def test_a_job_without_settings_takes_no_args(place: Path) -> None:
    write(place, {"train.py": MINE})
    with pytest.raises(UsageError, match=r"args\.rate: "):
        load(place, "train.py", rate=1)


def test_jobs_that_are_imported_are_not_the_modules_own(place: Path) -> None:
    write(place, {"base.py": MINE, "train.py": "from base import Mine\nclass Own(Mine):\n    pass\n"})
    assert type(load(place, "train.py")).__name__ == "Own"


@pytest.mark.parametrize(
    ("text", "found"),
    [("x = 1\n", "no subclass of Job"), (TWO, "Mine and Yours"), ("from launcher.runtime.job import Job\n", "no subc")],
)
def test_a_module_that_does_not_define_exactly_one_job_is_refused(place: Path, text: str, found: str) -> None:
    write(place, {"train.py": text})
    said = refused(place, "train.py")
    assert said.startswith(f"job: train.py defines {found}")
    assert said.endswith("a job's module defines exactly one subclass of launcher.Job")


def test_a_script_that_is_not_there_is_a_sentence(place: Path) -> None:
    assert refused(place, "gone.py") == f"job: there is no script {place}/gone.py"


@pytest.mark.parametrize("job", ["nothing", "gone.training", "mine.gone", "mine.gone.deep", "plain.gone"])
def test_a_module_that_is_not_there_is_a_sentence(place: Path, job: str) -> None:
    write(place, {"mine/__init__.py": "", "plain.py": ""})
    assert refused(place, job) == f"job: there is no module {job_module(job)!r}"


def test_a_module_that_misses_another_is_not_taken_for_missing_itself(place: Path) -> None:
    write(place, {"mine/__init__.py": "import gone_library\n", "mine/training.py": MINE})
    with pytest.raises(ModuleNotFoundError, match="gone_library"):
        load(place, "mine.training")


# Steps


def built(steps: object) -> Job:
    job = Job(None, task_context())
    if steps is not None:
        job.steps = steps  # type: ignore[assignment]
    build(job)
    return job


@pytest.mark.parametrize("steps", [0, 1, np.int64(7)])
def test_a_job_says_how_many_steps_it_trains_and_0_only_evaluates(steps: int) -> None:
    assert built(steps).steps == steps


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (None, r"^job: Job sets no steps, so there is nothing to train: set self\.steps in build\(\)"),
        (-1, "sets steps to -1: it must be a whole number"),
        (2.5, r"sets steps to 2\.5: it must be a whole number"),
        (True, "sets steps to True: it must be a whole number"),
        ("10", "sets steps to '10': it must be a whole number"),
    ],
)
def test_a_job_without_a_number_of_steps_is_refused(steps: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        built(steps)


@pytest.mark.parametrize("key", ["steps_per_epoch", "steps_per_call", "report_every"])
@pytest.mark.parametrize("value", [-1, 2.0, True, None])
def test_a_count_that_is_none_is_refused(key: str, value: object) -> None:
    job = Job(None, task_context())
    job.steps = 10
    setattr(job, key, value)
    with pytest.raises(
        UsageError, match=f"^job: Job sets {key} to {value!r}: it must be a whole number of at least 0$"
    ):
        build(job)


def test_counts_of_numpy_become_pythons_which_reports_can_hold() -> None:
    job = Job(None, task_context())
    given = {"steps": np.int64(10), "steps_per_epoch": np.int32(5), "steps_per_call": np.uint8(2)}
    for key, value in {**given, "report_every": np.int64(5)}.items():
        setattr(job, key, value)
    build(job)
    counts = [job.steps, job.steps_per_epoch, job.steps_per_call, job.report_every]
    assert [(type(count), count) for count in counts] == [(int, 10), (int, 5), (int, 2), (int, 5)]
