"""`from launcher import …`: what training code gets, and what it costs to ask for nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import launcher
from launcher import rundir
from launcher.runtime import job

ROOT = Path(__file__).parents[2]


def test_each_public_name_is_the_object_that_its_module_defines() -> None:
    assert [launcher.Job, launcher.Shard, launcher.RunFiles] == [job.Job, job.Shard, rundir.RunFiles]
    assert (launcher.Metrics, launcher.History) == (job.Metrics, job.History)


def test_all_public_names_can_be_imported() -> None:
    found: dict[str, object] = {}
    exec("from launcher import *", found)
    assert set(launcher.__all__) <= found.keys()
    assert launcher.__all__ == sorted(launcher.__all__)


def test_another_name_is_an_attribute_error_and_a_submodule_is_still_found() -> None:
    with pytest.raises(AttributeError, match=r"^module 'launcher' has no attribute 'Jobs'$"):
        vars(launcher)["__getattr__"]("Jobs")
    from launcher import errors

    assert errors.__name__ == "launcher.errors"


def test_importing_launcher_imports_no_other_module_of_it_and_nothing_of_others() -> None:
    code = (
        "import sys; before = set(sys.modules); import launcher; launcher.__version__;"
        "print(*(name for name in set(sys.modules) - before if name.partition('.')[0] not in sys.stdlib_module_names))"
    )
    asked = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (asked.stdout.split(), asked.stderr) == (["launcher"], "")


def test_run_files_need_no_tensorflow() -> None:
    code = "import sys; from launcher import RunFiles; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
