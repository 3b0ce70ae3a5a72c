"""What ``doctor`` looks at, one function for each part of the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil

from launcher.commands.train.check import SUPPORTED
from launcher.engines.compose.docker import Docker
from launcher.errors import LauncherError
from launcher.host.inventory import Inventory, take

_IMPORT = 120  # seconds; the first time after an install takes a good part of a minute
_NETWORK = 60  # seconds
_TASK = 0.7  # GiB that a task with TensorFlow takes at the least
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy")
_INSTALL = f"pip install 'tensorflow=={SUPPORTED[0]}.{SUPPORTED[1]}.*'"
_MODEL_FIT = "a train_step of one's own trains in both modes, also with Keras layers; model.fit trains in neither"


@dataclass(frozen=True)
class Diagnosis:
    """One line: what was looked at, what was found, and what to do about it."""

    state: Literal["ok", "warning", "problem"]
    about: str
    message: str
    remedy: str = ""


def machine() -> Iterator[Diagnosis]:
    """Yield everything about this machine, the cheapest first."""
    inventory = take()
    yield python()
    yield from cpu(inventory)
    yield memory()
    yield gpus(inventory)
    yield from tensorflow(inventory)
    yield private_network()
    yield containers()
    yield from proxies()
    yield own_name()


def python() -> Diagnosis:
    """Look at the interpreter."""
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Diagnosis("ok", "Python", f"{version} on {platform.system()} {platform.machine()}")
    return Diagnosis("problem", "Python", f"{version}", "use Python 3.11, 3.12 or 3.13: make setup PYTHON=python3.12")


def cpu(inventory: Inventory) -> Iterator[Diagnosis]:
    """Look at the cores, and at the instructions that TensorFlow's wheels need or would like."""
    count = len(inventory.cores)
    note = f"; {inventory.core_note}" if inventory.core_note else ""
    yield Diagnosis("ok" if count > 1 else "warning", "cores", f"{count}{note}", "" if count > 1 else "tasks share it")
    flags = _cpu_flags()
    if flags is None:
        return
    fast = [name for name in ("avx", "avx2", "fma", "avx512f") if name in flags]
    if "avx" in flags:
        yield Diagnosis("ok", "CPU features", ", ".join(fast).upper())
    else:
        remedy = "build TensorFlow for this CPU, or use another machine: the wheels end with 'Illegal instruction'"
        yield Diagnosis("problem", "CPU features", "no AVX", remedy)


def _cpu_flags() -> set[str] | None:
    """Return what the CPU can do; None where that is not known or means something else (ARM)."""
    try:
        found = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return set(found[1].split()) if found else None


def memory() -> Diagnosis:
    """Look at the memory that is left."""
    free, total = (value / 2**30 for value in (psutil.virtual_memory().available, psutil.virtual_memory().total))
    said = f"{free:.1f} of {total:.1f} GiB free, room for about {int(free / _TASK)} tasks"
    if free > 3 * _TASK:
        return Diagnosis("ok", "memory", said)
    return Diagnosis("warning", "memory", said, "close other programs, or run fewer tasks")


def gpus(inventory: Inventory) -> Diagnosis:
    """Look at the GPUs and their driver."""
    if not inventory.gpus:
        state: Literal["ok", "warning"] = "ok" if inventory.gpu_note == "no NVIDIA driver" else "warning"
        remedy = "" if state == "ok" else "nvidia-smi shows what the driver says; reinstall it where that fails too"
        return Diagnosis(state, "GPUs", f"none ({inventory.gpu_note})", remedy)
    names = ", ".join(f"{gpu.id}: {gpu.name}" for gpu in inventory.gpus)
    return Diagnosis("ok", "GPUs", f"{names}; driver {_driver()}{f'; {inventory.gpu_note}' * bool(inventory.gpu_note)}")


def _driver() -> str:
    import pynvml  # type: ignore[import-untyped,unused-ignore]

    pynvml.nvmlInit()
    try:
        return str(pynvml.nvmlSystemGetDriverVersion())
    finally:
        pynvml.nvmlShutdown()


def tensorflow(inventory: Inventory) -> Iterator[Diagnosis]:
    """Look at TensorFlow, at Keras beside it, and at the libraries that it finds or misses."""
    version = _version("tensorflow") or _version("tensorflow-cpu")
    if version is None:
        yield Diagnosis("problem", "TensorFlow", "is not installed", _INSTALL)
        return
    if not _is_supported(version):
        yield Diagnosis("problem", "TensorFlow", f"{version}, which was not tried", _INSTALL)
    yield keras(version)
    found = _asked(version)
    if isinstance(found, Diagnosis):
        yield found
        return
    yield Diagnosis("ok", "TensorFlow", f"{version}, imported in {found['seconds']} s")
    yield cuda(inventory, found)


def keras(tensorflow_version: str) -> Diagnosis:
    """Look which Keras there is, and say what is known of it beside that TensorFlow."""
    version = _version("keras")
    if version is None:
        return Diagnosis("ok", "Keras", "is not installed; only jobs need it")
    tried = _is_supported(tensorflow_version) and version.startswith("3.")
    return Diagnosis("ok", "Keras", f"{version}{f': {_MODEL_FIT}' if tried else ', which was not tried'}")


def cuda(inventory: Inventory, found: dict[str, Any]) -> Diagnosis:
    """Compare the GPUs that there are with those that TensorFlow sees."""
    extra = "pip install 'tensorflow[and-cuda]'"
    if not found["cuda"]:
        state: Literal["ok", "problem"] = "problem" if inventory.gpus else "ok"
        return Diagnosis(state, "CUDA", "this TensorFlow is built without", extra if inventory.gpus else "")
    built = f"built for CUDA {found['cuda']}, cuDNN {found['cudnn']}"
    libraries = f"; finds {', '.join(found['found'])}" if found["found"] else ""
    missing = libraries + (f"; misses {', '.join(found['missing'])}" if found["missing"] else "")
    if not inventory.gpus:
        return Diagnosis("ok", "CUDA", f"{built}{missing}; not needed without a GPU")
    seen = f"{built}; sees {len(found['gpus'])} of {len(inventory.gpus)} GPUs"
    if not found["missing"] and len(found["gpus"]) == len(inventory.gpus):
        return Diagnosis("ok", "CUDA", seen + libraries)
    return Diagnosis("problem", "CUDA", seen + missing, extra)


def _is_supported(version: str) -> bool:
    return version.split(".")[:2] == [str(part) for part in SUPPORTED]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _asked(version: str) -> dict[str, Any] | Diagnosis:
    """Ask TensorFlow in a process of its own: what is installed may still miss a library or a CPU feature."""
    command = [sys.executable, "-P", "-m", "launcher.runtime.diagnosis"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT, check=False)
    except subprocess.TimeoutExpired:
        return Diagnosis("problem", "TensorFlow", f"{version} was not imported after {_IMPORT} s", "is the disk slow?")
    if done.returncode == 0:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
    why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return Diagnosis("problem", "TensorFlow", f"{version} cannot be imported: {why}", f"in a new .venv: {_INSTALL}")


def private_network() -> Diagnosis:
    """Try whether the kernel gives a network namespace."""
    code = "from launcher.engines.local.network import enter_private_network as e; print(e())"
    command = [sys.executable, "-P", "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_NETWORK, check=False)
        why = done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired:
        why = f"was not made within {_NETWORK} s"
    if not why:
        return Diagnosis("ok", "private network", "possible: the tasks' ports are closed to everyone else")
    remedy = "the tasks' ports are open to the host's network: allow user namespaces, or keep a firewall"
    return Diagnosis("warning", "private network", why, remedy)


def containers() -> Diagnosis:
    """Look for a container engine and its compose."""
    try:
        engine = Docker.find()
        compose = f"{' '.join(engine.compose)} {engine.compose_version()}"
    except LauncherError as error:
        what, _, remedy = str(error).partition("; ")
        return Diagnosis("warning" if shutil.which("docker") else "ok", "containers", what, remedy)
    return Diagnosis("ok", "containers", f"Docker Engine {engine.version}, {compose}")


def proxies() -> Iterator[Diagnosis]:
    """Look for proxies that gRPC would go through."""
    there = [name for proxy in _PROXIES for name in (proxy, proxy.upper()) if os.environ.get(name)]
    if there:  # the names alone: what they hold may have a password in it
        message = f"{', '.join(there)}: for downloads only; the launcher keeps the cluster's gRPC out of it"
        yield Diagnosis("ok", "proxies", message)
    else:
        yield Diagnosis("ok", "proxies", "none is set")


def own_name() -> Diagnosis:
    """Look whether this machine knows its own name."""
    if resolves(socket.gethostname()):
        return Diagnosis("ok", "own name", "has an address")
    remedy = "add it to /etc/hosts, beside 127.0.1.1; tasks on several machines find each other by name"
    return Diagnosis("warning", "own name", "has no address", remedy)


def resolves(name: str) -> bool:
    """Whether a host's name has an address."""
    try:
        socket.getaddrinfo(name.strip("[]"), None)
    except (OSError, UnicodeError):
        return False
    return True
