"""What NVIDIA's driver is asked, and what becomes of its answers, refusals and silence."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.host import gpus
from launcher.host.gpus import Gpu, read_gpus

WHOLE = "(nvidia-smi --multi-instance-gpu 0 makes it whole)"


class NVMLError(Exception):
    """Stands in for what the driver's library raises."""


class NotSupported(NVMLError):
    """What it raises for a question that a GPU has no answer to."""


def raises(*_: object) -> Any:
    raise NVMLError("GPU is lost")


@dataclass
class Nvml:
    """A driver that answers as a test wants; what it was told stands in ``calls``."""

    count: int = 2
    split: Sequence[int] = ()
    users: Sequence[int] = ()
    old: bool = False  # answers in bytes
    calls: list[str] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch, **changed: Callable[..., Any]) -> None:
        functions: dict[str, Callable[..., Any]] = {
            "nvmlInit": lambda: self.calls.append("init"),
            "nvmlShutdown": lambda: self.calls.append("shutdown"),
            "nvmlDeviceGetCount": lambda: self.count,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=(80 << 30) + 5, free=(79 << 30) - 1),
            "nvmlDeviceGetName": lambda _: self._text("NVIDIA H100"),
            "nvmlDeviceGetUUID": lambda index: self._text(f"GPU-{index}{index}aa-b"),
            "nvmlDeviceGetPciInfo": lambda index: SimpleNamespace(busId=self._text(f"00000000:{index:X}B:00.0")),
            "nvmlDeviceGetMigMode": lambda index: (int(index in self.split), 0),
            "nvmlDeviceGetComputeRunningProcesses": lambda _: [SimpleNamespace(pid=pid) for pid in self.users],
        }
        errors = {"NVMLError_NotSupported": NotSupported}
        monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(**(errors | functions | changed)))

    def _text(self, value: str) -> str | bytes:
        return value.encode() if self.old else value


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every GPU is visible, and the bus is a folder."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "_PCI", tmp_path)
    return tmp_path


def on_bus(bus: Path, index: int, node: str) -> None:
    (bus / f"0000:{index:x}b:00.0").mkdir()
    (bus / f"0000:{index:x}b:00.0" / "numa_node").write_text(node)


@pytest.mark.parametrize("old", [False, True], ids=["text", "bytes"])
def test_everything_that_placement_reads_comes_from_the_driver(monkeypatch: pytest.MonkeyPatch, old: bool) -> None:
    Nvml(users=[31, 7], old=old).install(monkeypatch)
    assert read_gpus() == (
        (
            Gpu(0, "GPU-00aa-b", "NVIDIA H100", 81_920, 80_895, 0, mig=False, users=(7, 31)),
            Gpu(1, "GPU-11aa-b", "NVIDIA H100", 81_920, 80_895, 0, mig=False, users=(7, 31)),
        ),
        "",
    )


def test_the_numa_node_is_the_kernel_s_word_for_the_gpu_s_place_on_the_bus(
    monkeypatch: pytest.MonkeyPatch, machine: Path
) -> None:
    Nvml(count=12).install(monkeypatch)
    for index, node in {0: "1\n", 2: "-1\n", 3: "what?", 11: "3\n"}.items():  # 11: NVML writes 0xB, the kernel 0xb
        on_bus(machine, index, node)
    nodes = {gpu.id: gpu.node for gpu in read_gpus()[0]}
    assert nodes == dict.fromkeys(range(12), 0) | {0: 1, 11: 3}


@pytest.mark.parametrize(
    ("bus", "kernel"), [("00010000:01:00.0", "10000:01:00.0"), (b"0000000A:0B:00.0", "000a:0b:00.0")]
)
def test_a_bus_of_any_domain_is_found(
    monkeypatch: pytest.MonkeyPatch, machine: Path, bus: str | bytes, kernel: str
) -> None:
    Nvml(count=1).install(monkeypatch, nvmlDeviceGetPciInfo=lambda _: SimpleNamespace(busId=bus))
    (machine / kernel).mkdir()
    (machine / kernel / "numa_node").write_text("1\n")
    assert [gpu.node for gpu in read_gpus()[0]] == [1]


def test_parts_of_a_gpu_split_by_mig_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-0a1b")
    Nvml(count=1).install(monkeypatch)
    why = "names parts of GPUs split by MIG, which the launcher cannot use; name whole GPUs"
    assert read_gpus() == ((), f"CUDA_VISIBLE_DEVICES=MIG-0a1b {why}")


def test_the_driver_is_let_go_however_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = Nvml(), Nvml()
    good.install(monkeypatch)
    read_gpus()
    bad.install(monkeypatch, nvmlDeviceGetCount=raises)
    read_gpus()
    assert good.calls == bad.calls == ["init", "shutdown"]


def test_a_driver_that_does_not_start_is_asked_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Nvml()
    driver.install(monkeypatch, nvmlInit=raises)
    assert read_gpus() == ((), "the NVIDIA driver does not answer: GPU is lost")
    assert driver.calls == []


def test_a_driver_that_cannot_be_let_go_has_answered_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    Nvml(count=1).install(monkeypatch, nvmlShutdown=raises)
    found, note = read_gpus()
    assert ([gpu.id for gpu in found], note) == ([0], "")


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetCount",
        "nvmlDeviceGetHandleByIndex",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetName",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetPciInfo",
    ],
)
def test_a_broken_driver_is_no_gpu_and_one_line(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    Nvml().install(monkeypatch, **{function: raises})
    assert read_gpus() == ((), "the NVIDIA driver does not answer: GPU is lost")


def test_a_driver_too_old_to_have_a_function_is_no_gpu_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    Nvml().install(monkeypatch)
    monkeypatch.delattr(sys.modules["pynvml"], "nvmlDeviceGetUUID")
    found, note = read_gpus()
    assert found == ()
    assert note.startswith("the NVIDIA driver does not answer: ")
    assert "nvmlDeviceGetUUID" in note


@pytest.mark.parametrize("function", ["nvmlDeviceGetMigMode", "nvmlDeviceGetComputeRunningProcesses"])
def test_what_some_drivers_will_not_say_costs_no_gpu(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    Nvml(split=[0], users=[5]).install(monkeypatch, **{function: raises})
    found = {gpu.id: (gpu.mig, gpu.users) for gpu in read_gpus()[0]}
    assert found == ({0: (False, (5,)), 1: (False, (5,))} if "Mig" in function else {1: (False, ())})


def test_only_root_may_ask_for_the_memory_of_a_split_gpu_which_costs_the_whole_ones_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = SimpleNamespace(total=80 << 30, free=80 << 30)
    Nvml(count=4, split=[2]).install(
        monkeypatch, nvmlDeviceGetMemoryInfo=lambda index: raises() if index == 2 else memory
    )
    found, note = read_gpus()
    assert ([gpu.id for gpu in found], note) == ([0, 1, 3], f"GPU 2 left out: split by MIG {WHOLE}")


def test_a_gpu_without_memory_of_its_own_is_a_gpu_whose_memory_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def shares_the_hosts(_: object) -> Any:
        raise NotSupported("Not Supported")

    Nvml(count=1).install(monkeypatch, nvmlDeviceGetMemoryInfo=shares_the_hosts)
    assert [(gpu.total, gpu.free) for gpu in read_gpus()[0]] == [(0, 0)]


def test_a_machine_without_a_driver_says_so_in_three_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> None:
        raise type("NVMLError_LibraryNotFound", (NVMLError,), {})("NVML Shared Library Not Found")

    Nvml().install(monkeypatch, nvmlInit=start)
    assert read_gpus() == ((), "no NVIDIA driver")


def test_without_nvidia_s_package_there_is_no_gpu_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_gpus() == ((), "nvidia-ml-py is not installed, so GPUs cannot be found")


@pytest.mark.parametrize("visible", [None, "0", ""])
def test_a_driver_without_gpus_says_so_whatever_is_visible(
    monkeypatch: pytest.MonkeyPatch, visible: str | None
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    Nvml(count=0).install(monkeypatch)
    assert read_gpus() == ((), "the NVIDIA driver finds none")


@pytest.mark.parametrize(
    ("visible", "ids"),
    [
        ("3,0,2", [3, 0, 2]),
        (" 1 , 2 ", [1, 2]),
        ("GPU-33aa-b,GPU-1", [3, 1]),
        ("GPU-3", [3]),
        ("2,-1,3", [2]),  # CUDA reads up to the first word that it does not know
        ("1,GPU-11aa-b,2", [1]),  # and up to a GPU that it has already
        ("GPU-", []),  # which could be any
        ("gpu-3", []),
        ("NoDevFiles", []),
        ("4", []),
    ],
)
def test_cuda_visible_devices_chooses_by_number_and_by_uuid_in_its_order(
    monkeypatch: pytest.MonkeyPatch, visible: str, ids: list[int]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    Nvml(count=4).install(monkeypatch)
    found, note = read_gpus()
    assert [gpu.id for gpu in found] == ids
    assert note == ("" if ids else f"CUDA_VISIBLE_DEVICES={visible} hides the GPUs of this machine")


@pytest.mark.parametrize(
    ("visible", "ids", "note"),
    [
        ("", [0, 2], f"GPU 1, 3 left out: split by MIG {WHOLE}"),
        ("2,1", [2], f"GPU 1 left out: split by MIG {WHOLE}"),
        ("2,0", [2, 0], ""),  # nobody asked for those that are split
        ("3", [], f"GPU 3 left out: split by MIG {WHOLE}"),
    ],
)
def test_what_mig_has_split_is_left_out_where_it_would_be_seen(
    monkeypatch: pytest.MonkeyPatch, visible: str, ids: list[int], note: str
) -> None:
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    Nvml(count=4, split=[1, 3]).install(monkeypatch)
    found, said = read_gpus()
    assert ([gpu.id for gpu in found], said) == (ids, note)


def test_nothing_is_changed_in_this_process_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    Nvml().install(monkeypatch)
    before = dict(os.environ)
    read_gpus()
    assert dict(os.environ) == before
