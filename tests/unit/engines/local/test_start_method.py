"""Which tasks are forked: the most whose variables agree as far as an import reads them."""

from __future__ import annotations

import pytest

from launcher.contract.task import Task
from launcher.engines.local.start_method import forked

READ_LATER = [
    "TF_CONFIG",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_FORCE_GPU_ALLOW_GROWTH",
    "CUDA_VISIBLE_DEVICES",
    "XDG_SESSION_ID",
    "OWN",
]
CHIEF, FIRST, SECOND = Task("chief", 0), Task("worker", 0), Task("worker", 1)


def test_tasks_that_differ_in_what_is_read_later_are_forked_together() -> None:
    own = {task: dict.fromkeys(READ_LATER, str(n)) for n, task in enumerate((CHIEF, FIRST))}
    assert forked(own) == {CHIEF, FIRST}


@pytest.mark.parametrize(
    "name",
    [
        "KERAS_BACKEND",
        "TF_USE_LEGACY_KERAS",
        "TF_CPP_MIN_LOG_LEVEL",
        "TF_ENABLE_ONEDNN_OPTS",
        "TF_FUNCTION_JIT_COMPILE_DEFAULT",
        "TF_XLA_FLAGS",
        "XLA_FLAGS",
        "KERAS_MAX_EPOCHS",
        "NPY_PROMOTION_STATE",
        "HDF5_USE_FILE_LOCKING",
        "MPLBACKEND",
        "OMP_NUM_THREADS",
        "MALLOC_ARENA_MAX",
        "LD_PRELOAD",
        "PYTHONHASHSEED",
        "LC_ALL",
        "TZ",
    ],
)
def test_a_task_that_differs_in_what_an_import_reads_is_spawned(name: str) -> None:
    assert forked({CHIEF: {}, FIRST: {name: "1"}, SECOND: {}}) == {CHIEF, SECOND}


def test_the_variables_of_the_most_tasks_decide() -> None:
    env = {"OMP_NUM_THREADS": "2"}
    assert forked({CHIEF: {}, FIRST: env, SECOND: env}) == {FIRST, SECOND}


def test_no_task_means_none() -> None:
    assert forked({}) == frozenset()
