"""The job that a cluster file names, and its args: found and checked before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import SpecError
from launcher.spec.file import check_job, load
from tests.unit.spec.conftest import Write, job_file


def test_a_job_that_exists_is_found_without_importing_it(write: Write, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('this was run')\n")
    for job in ("train", "train.py", "hello", "linear_regression", "jobs.hello", "json.decoder"):
        path = write(f"job: {job}\ncluster: {{worker: 1}}\n")
        if job == "train":
            with pytest.raises(SpecError, match=r"there is no job 'train'; did you mean 'train\.py'\?"):
                job_file(path)
        else:
            job_file(path)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("linear_regresion", "there is no job 'linear_regresion'; did you mean 'linear_regression'?"),
        ("jobs.helo", "there is no module 'jobs.helo'; did you mean 'jobs.hello'?"),
        ("a/b", "'a/b' is neither the name of a module nor the path of a .py file"),
        ("tarin.py", "there is no script 'tarin.py'"),
        ("broken.py", "broken.py:1: "),
        ("folder.py", "'folder.py' is not a file"),
        (f"{'a' * 300}.py", "cannot be looked for: File name too long"),
        ("..", "'..' is neither the name of a module"),
    ],
)
def test_a_job_that_cannot_be_had_is_refused_with_its_line(
    write: Write, tmp_path: Path, job: str, expected: str
) -> None:
    (tmp_path / "broken.py").write_text("def (\n")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(SpecError) as caught:
        job_file(write(f"name: a\njob: {job}\ncluster: {{worker: 1}}\n"))
    assert str(caught.value).startswith("cluster.yaml:2: job: ")
    assert expected in str(caught.value)


CONFIG = """
from dataclasses import dataclass
from pathlib import Path

@dataclass(frozen=True)
class Config:
    rate: float = 0.1
    data: str = ""

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError("rate must be more than 0")

    def check(self, directory: Path) -> None:
        if self.data and not (directory / self.data).exists():
            raise ValueError(f"there is no {self.data} in {directory.name}")
        if self.data == "cluster.yaml":
            raise KeyError("a mistake of the job's own")
"""


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("{rate: 1}", ""),
        ("{rat: 1}", "cluster.yaml:2: args.rat: unknown key; did you mean 'rate'? Allowed: rate, data"),
        ("{rate: yes}", "cluster.yaml:2: args.rate: must be a number, not 'yes' (text)"),
        ("{rate: 0}", "cluster.yaml:2: args.rate: must be more than 0"),
        ("{data: x.csv}", "cluster.yaml:2: args: there is no x.csv in "),
        ("{data: cluster.yaml}", "own_job.config fails: KeyError: "),
    ],
)
def test_a_package_s_own_config_checks_the_args(write: Write, tmp_path: Path, args: str, expected: str) -> None:
    package = tmp_path / "jobs" / "own_job"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "config.py").write_text(CONFIG)
    path = write(f"job: own_job\nargs: {args}\ncluster: {{worker: 1}}\n")
    if not expected:
        job_file(path)
        return
    with pytest.raises(SpecError) as caught:
        job_file(path)
    assert expected in str(caught.value)


def test_a_config_that_exits_does_not_end_the_launcher_with_its_exit_code(write: Write, tmp_path: Path) -> None:
    package = tmp_path / "jobs" / "leaving_job"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "config.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(SpecError, match=r"^cluster\.yaml:1: job: jobs\.leaving_job\.config fails: SystemExit: 0$"):
        job_file(write("job: leaving_job\ncluster: {worker: 1}\n"))


def test_what_the_jobs_own_config_refuses_is_blamed_on_who_brought_it(write: Write) -> None:
    path = write("job: linear_regression\nargs: {epochs: 3}\ncluster: {worker: 1}\n")
    with pytest.raises(SpecError) as caught:
        check_job(load(path, ["args.epochs=-1"]))
    assert str(caught.value) == "--set args.epochs=-1: args.epochs: is -1; it must be a whole number of at least 1"
