"""What the server of a ps or an asynchronous worker is told of its threads and GPUs."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.runtime.training.server import server_config
from tests.unit.runtime.conftest import task_context


def parts(**changes: Any) -> list[list[float]]:
    """Return the MiB of each part of each GPU."""
    options = server_config(task_context(**changes)).gpu_options.experimental.virtual_devices
    return [list(gpu.memory_limit_mb) for gpu in options]


def test_a_server_has_the_threads_of_the_plan_and_none_that_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "5")
    config = server_config(task_context())
    assert (config.intra_op_parallelism_threads, config.inter_op_parallelism_threads) == (3, 5)
    assert config.experimental.disable_thread_spinning


def test_without_gpu_memory_a_server_takes_whole_gpus() -> None:
    assert parts(gpus=(0, 1)) == []


def test_gpu_memory_limits_each_gpu_of_a_server() -> None:
    assert parts(gpus=(0, 1), gpu_memory=2000) == [[2000], [2000]]


def test_virtual_devices_split_each_gpu_of_a_server() -> None:
    assert parts(gpus=(4,), gpu_memory=1000, virtual_devices=2) == [[1000, 1000]]
