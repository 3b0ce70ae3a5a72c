from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.host import inventory
from launcher.host.inventory import Gpu, take
from launcher.host.ports import free_ports


class NoLibrary(Exception):
    """Stands in for the driver's error."""


NoLibrary.__name__ = "NVMLError_LibraryNotFound"


def nvml(count: int, fails: Exception | None = None) -> SimpleNamespace:
    def start() -> None:
        if fails:
            raise fails

    return SimpleNamespace(
        nvmlInit=start,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: count,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=16 << 30, free=8 << 30),
        nvmlDeviceGetName=lambda _: b"Tesla T4",
        nvmlDeviceGetUUID=lambda index: f"GPU-{index}aaa",
        nvmlDeviceGetPciInfo=lambda index: SimpleNamespace(busId=f"00000000:0{index}:00.0"),
    )


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(count: int = 2, visible: str | None = None, fails: Exception | None = None) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", nvml(count, fails))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return install


def test_this_host_has_cores_and_free_ports() -> None:
    found = take(ports=5)
    assert found.hostname == socket.gethostname()
    assert found.cores
    assert len(set(found.ports)) == 5
    for port in found.ports:
        with socket.socket() as probe:
            probe.bind(("", port))


def test_a_system_without_affinity_counts_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert [core.id for core in take().cores] == [0, 1, 2]


@pytest.mark.parametrize(
    ("allowed", "cores", "note"),
    [
        (None, 4, ""),
        (4.0, 4, ""),
        (2.5, 4, "a control group allows 2.5 of 4 cores"),
        (0.5, 4, "a control group allows 0.5 of 4 cores"),
        (0.5, 1, ""),  # one core is the least that a plan uses
    ],
)
def test_a_quota_is_reported_beside_the_cores(
    monkeypatch: pytest.MonkeyPatch, allowed: float | None, cores: int, note: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(inventory, "cpu_quota", lambda: allowed)
    found = take()
    assert [core.id for core in found.cores] == list(range(cores))
    assert (found.cpu_quota, found.core_note) == (allowed, note)


def test_more_ports_than_files_can_be_open_are_found_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    open_ones = 0

    class Scarce(socket.socket):
        def __init__(self, *arguments: Any) -> None:
            nonlocal open_ones
            if open_ones == 3:
                raise OSError(24, "Too many open files")
            open_ones += 1
            super().__init__(*arguments)

        def __exit__(self, *arguments: object) -> None:
            nonlocal open_ones
            open_ones -= 1
            super().__exit__(*arguments)

    monkeypatch.setattr(socket, "socket", Scarce)
    assert len(set(free_ports(10))) == 10


def test_gpus_are_read_from_the_driver(driver: Callable[..., None]) -> None:
    driver(count=2)
    found = take()
    assert found.gpus[1] == Gpu(1, "GPU-1aaa", "Tesla T4", 16 * 1024, 8 * 1024, 0)
    assert found.gpu_note == ""


@pytest.mark.parametrize(
    ("visible", "ids"),
    [
        ("1,0", [1, 0]),
        ("1", [1]),
        ("GPU-0aaa", [0]),
        ("GPU-1", [1]),
        ("0,7,1", [0]),
        ("0,0", [0]),
        ("", []),
        ("-1", []),
    ],
)
def test_only_gpus_that_cuda_would_see_are_there(driver: Callable[..., None], visible: str, ids: list[int]) -> None:
    driver(count=2, visible=visible)
    found = take()
    assert [gpu.id for gpu in found.gpus] == ids
    assert found.gpu_note == ("" if ids else f"CUDA_VISIBLE_DEVICES={visible} hides the GPUs of this machine")


@pytest.mark.parametrize(
    ("count", "fails", "note"),
    [
        (0, None, "the NVIDIA driver finds none"),
        (1, NoLibrary(), "no NVIDIA driver"),
        (1, RuntimeError("Driver/library version mismatch"), "does not answer: Driver/library version mismatch"),
    ],
)
def test_a_host_without_gpus_says_why(
    driver: Callable[..., None], count: int, fails: Exception | None, note: str
) -> None:
    driver(count=count, fails=fails)
    found = take()
    assert not found.gpus
    assert note in found.gpu_note


def test_a_gpu_that_mig_has_split_is_left_out_with_a_line(driver: Callable[..., None]) -> None:
    driver(count=2)
    sys.modules["pynvml"].nvmlDeviceGetMigMode = lambda index: (index, index)  # type: ignore[attr-defined]
    found = take()
    assert [gpu.id for gpu in found.gpus] == [0]
    assert found.gpu_note == "GPU 1 left out: split by MIG (nvidia-smi --multi-instance-gpu 0 makes it whole)"


def test_the_processes_that_compute_on_a_gpu_already_are_known(driver: Callable[..., None]) -> None:
    driver(count=1)
    running = [SimpleNamespace(pid=20), SimpleNamespace(pid=7)]
    sys.modules["pynvml"].nvmlDeviceGetComputeRunningProcesses = lambda _: running  # type: ignore[attr-defined]
    assert take().gpus[0].users == (7, 20)


def test_a_driver_that_knows_neither_mig_nor_processes_has_gpus_all_the_same(driver: Callable[..., None]) -> None:
    driver(count=1)
    (gpu,) = take().gpus
    assert (gpu.mig, gpu.users) == (False, ())
