"""A task looks at what it has, and does not go on if that is not what was placed."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf

from launcher.contract.roles import Role
from launcher.errors import LauncherError
from launcher.runtime.training.placement_check import check_devices, check_placement
from tests.unit.runtime.conftest import task_context


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that gives this process cores and GPUs."""

    def give(cores: set[int], gpus: int = 0, chosen: str = "") -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
        physical = [SimpleNamespace(name=f"/physical_device:GPU:{i}") for i in range(gpus)]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: physical if kind == "GPU" else [])
        details = {"device_name": "Tesla T4"}
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)

    return give


@pytest.fixture
def logical(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(*names: str) -> None:
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda: [SimpleNamespace(name=name) for name in names])

    return give


def test_a_task_says_which_cores_and_gpus_it_has(has: Any) -> None:
    has({3, 2}, gpus=2, chosen="4,6")
    seen = check_placement(task_context(cores=(2, 3), gpus=(4, 6)))
    assert seen == {"cores": [2, 3], "gpus": {"4": "Tesla T4", "6": "Tesla T4"}}


def test_a_task_that_is_not_pinned_may_have_any_cores(has: Any) -> None:
    has({0, 5})
    assert check_placement(task_context()) == {"cores": [0, 5], "gpus": {}}


@pytest.mark.parametrize("cores", [{0, 1}, {1}, {2, 3, 4}, {3}])
def test_other_cores_than_planned_are_an_error(has: Any, cores: set[int]) -> None:
    has(cores)
    shown = ", ".join(map(str, sorted(cores)))
    with pytest.raises(LauncherError) as caught:
        check_placement(task_context(cores=(2, 3)))
    assert str(caught.value) == f"the plan gives worker:0 the cores 2, 3; it has {shown}"


def test_a_gpu_that_tensorflow_does_not_see_is_an_error_with_a_remedy(has: Any) -> None:
    has({0})
    with pytest.raises(LauncherError) as caught:
        check_placement(task_context(gpus=(1,)))
    assert str(caught.value) == (
        "the plan gives worker:0 GPU 1, and TensorFlow sees none; its log says why "
        "(CUDA comes with pip install 'tensorflow[and-cuda]')"
    )


def test_a_gpu_too_many_is_an_error_with_what_made_it_visible(has: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    has({0}, gpus=1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(LauncherError) as caught:
        check_placement(task_context())
    assert str(caught.value) == "the plan gives worker:0 no GPU, and TensorFlow sees 1 GPU; CUDA_VISIBLE_DEVICES is '0'"


def test_fewer_gpus_than_planned_are_counted(has: Any) -> None:
    has({0}, gpus=1)
    with pytest.raises(LauncherError) as caught:
        check_placement(task_context("worker:1", gpus=(4, 6)))
    assert str(caught.value) == (
        "the plan gives worker:1 GPU 4, 6, and TensorFlow sees 1 GPU; its log says why "
        "(CUDA comes with pip install 'tensorflow[and-cuda]')"
    )


def test_more_gpus_than_planned_are_an_error_even_where_nobody_chose_among_them(
    has: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    has({0}, gpus=3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(LauncherError) as caught:
        check_placement(task_context(gpus=(4, 6)))
    assert str(caught.value) == (
        "the plan gives worker:0 GPU 4, 6, and TensorFlow sees 3 GPUs; CUDA_VISIBLE_DEVICES is None"
    )


def test_other_gpus_than_planned_are_an_error_although_they_are_as_many(has: Any) -> None:
    has({0}, gpus=2, chosen="0,1")
    with pytest.raises(LauncherError) as caught:
        check_placement(task_context(gpus=(4, 6)))
    assert str(caught.value) == (
        "the plan gives worker:0 GPU 4, 6, and TensorFlow sees 2 GPUs; CUDA_VISIBLE_DEVICES is '0,1'"
    )


def test_a_gpu_without_a_name_is_there_all_the_same(has: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    has({0}, gpus=1, chosen="2")
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: {})
    assert check_placement(task_context(gpus=(2,)))["gpus"] == {"2": "unknown"}


def test_where_the_system_does_not_tell_a_process_its_cores_those_of_the_plan_are_believed(
    has: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(set())
    monkeypatch.delattr(os, "sched_getaffinity")
    assert check_placement(task_context(cores=(3, 2))) == {"cores": [2, 3], "gpus": {}}


def test_the_order_in_which_the_plan_names_cores_is_of_no_matter(has: Any) -> None:
    has({7, 2})
    assert check_placement(task_context(cores=(7, 2)))["cores"] == [2, 7]


def test_an_evaluator_counts_the_devices_that_carry_no_jobs_name(logical: Any) -> None:
    logical("/device:CPU:0")
    assert check_devices(task_context("evaluator:0", role=Role.EVALUATE)) == ["/device:CPU:0"]


def test_a_coordinator_does_not_count_the_devices_of_its_workers(logical: Any) -> None:
    names = [f"/job:{job}/replica:0/task:0/device:{kind}" for job in ("chief", "ps") for kind in ("CPU:0", "GPU:0")]
    logical(*names)
    assert check_devices(task_context("chief:0", role=Role.COORDINATE, cluster={"chief": ("a:1",)})) == names


CLUSTER = "/job:worker/replica:0/task:{}/device:{}"
TWO = {"worker": ("a:1", "b:1")}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["/device:CPU:0"]),
        ({"virtual_devices": 3}, ["/device:CPU:0", "/device:CPU:1", "/device:CPU:2"]),
        ({"gpus": (4, 5)}, ["/device:CPU:0", "/device:GPU:0", "/device:GPU:1"]),
        ({"gpus": (4,), "virtual_devices": 2}, ["/device:CPU:0", "/device:GPU:0", "/device:GPU:1"]),
        (
            {"gpus": (4,), "cluster": TWO},
            [CLUSTER.format(0, "GPU:0"), CLUSTER.format(1, "GPU:0"), CLUSTER.format(1, "GPU:1")],
        ),
    ],
)
def test_the_devices_to_compute_on_are_as_many_as_planned(
    logical: Any, changes: dict[str, Any], names: list[str]
) -> None:
    logical(*names)
    assert check_devices(task_context(**changes)) == names


@pytest.mark.parametrize(
    ("changes", "names", "message"),
    [
        (
            {"gpus": (0, 1)},
            ["/device:CPU:0", "/device:GPU:0"],
            "the plan gives worker:0 2 GPU devices; TensorFlow has made 1: /device:GPU:0",
        ),
        ({"gpus": (0,)}, ["/device:CPU:0"], "the plan gives worker:0 1 GPU device; TensorFlow has made 0: none"),
        (
            {"virtual_devices": 3},
            ["/device:CPU:0", "/device:GPU:0", "/device:GPU:1"],
            "the plan gives worker:0 3 CPU devices; TensorFlow has made 1: /device:CPU:0",
        ),
        (
            {},
            ["/device:CPU:0", "/device:CPU:1"],
            "the plan gives worker:0 1 CPU device; TensorFlow has made 2: /device:CPU:0, /device:CPU:1",
        ),
        (
            {"task": "worker:1", "gpus": (0, 1), "cluster": {"worker": tuple("abcdefghijk")}},
            [CLUSTER.format(0, "GPU:0"), CLUSTER.format(1, "GPU:0"), CLUSTER.format(10, "GPU:0")],
            f"the plan gives worker:1 2 GPU devices; TensorFlow has made 1: {CLUSTER.format(1, 'GPU:0')}",
        ),
    ],
)
def test_another_number_of_devices_is_an_error(
    logical: Any, changes: dict[str, Any], names: list[str], message: str
) -> None:
    logical(*names)
    with pytest.raises(LauncherError) as caught:
        check_devices(task_context(**changes))
    assert str(caught.value) == message
