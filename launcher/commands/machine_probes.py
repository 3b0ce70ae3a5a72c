"""The probes of this machine for ``check`` and ``doctor``, one function for each part of it."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from launcher.commands.findings import Finding, State
from launcher.engines.compose.docker import Docker
from launcher.engines.local.network.settled import Network
from launcher.engines.local.warm import waiting
from launcher.errors import LauncherError
from launcher.host.inventory import Inventory, take
from launcher.plan.cores import usable_cores
from launcher.plan.memory import ONE, room
from launcher.text import counted, size

SUPPORTED = (2, 21)  # versions of TensorFlow
_IMPORT = 120  # seconds; the first time after an install takes a good part of a minute
_NETWORK = 60  # seconds
_OPEN = "until it can, the tasks' ports are open to the host's network: keep a firewall"
_FEW = 4  # tasks: a machine that has no memory for so many has little
MORE_MEMORY = "run fewer tasks here, close other programs, or add memory"
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy", "all_proxy")
_INSTALL = f"pip install 'tensorflow=={SUPPORTED[0]}.{SUPPORTED[1]}.*'"
_MODEL_FIT = "a custom train_step trains in both modes, also with Keras layers; model.fit works in neither"


def machine() -> Iterator[Finding]:
    """Yield everything about this machine, the cheapest first."""
    inventory = take()
    yield python()
    yield from cpu(inventory)
    yield from memory(inventory)
    yield gpus(inventory)
    yield keras()
    found, answer = tensorflow()
    yield from found
    if answer:
        yield cuda(inventory, answer)
        yield start_method(answer)
    yield from warm_spawners()
    yield private_network()
    yield containers()
    yield from proxies()
    yield own_name()


def python() -> Finding:
    """Check the interpreter."""
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("ok", "Python", f"{version} on {platform.system()} {platform.machine()}")
    return Finding("problem", "Python", f"{version}", "use Python 3.11, 3.12 or 3.13: make setup PYTHON=python3.12")


def cpu(inventory: Inventory) -> Iterator[Finding]:
    """Check the cores, and the instructions that TensorFlow's wheels need or would like."""
    count = len(usable_cores(inventory))
    note = f"; {inventory.core_note}" if inventory.core_note else ""
    yield Finding(
        "ok" if count > 1 else "warning", "cores", f"{count}{note}", "" if count > 1 else "all tasks share it"
    )
    flags = _cpu_flags()
    if flags is None:
        return
    fast = [name for name in ("avx", "avx2", "fma", "avx512f") if name in flags]
    if "avx" in flags:
        yield Finding("ok", "CPU features", ", ".join(fast).upper())
    else:
        remedy = "build TensorFlow for this CPU, or use another machine: its wheels crash with 'Illegal instruction'"
        yield Finding("problem", "CPU features", "no AVX", remedy)


def _cpu_flags() -> set[str] | None:
    """Return what the CPU can do; None if that is not known or means something else (ARM)."""
    try:
        found = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return set(found[1].split()) if found else None


def memory(inventory: Inventory) -> Iterator[Finding]:
    """Check the memory that is left."""
    if there := inventory.memory:
        tasks = room(there, ONE)
        said = f"{size(there.available)} free ({there.bound}), room to start about {counted(tasks, 'task')}"
        yield Finding("ok", "memory", said) if tasks >= _FEW else Finding("warning", "memory", said, MORE_MEMORY)


def gpus(inventory: Inventory) -> Finding:
    """Check the GPUs and their driver."""
    if not inventory.gpus:
        state: State = "ok" if inventory.gpu_note == "no NVIDIA driver" else "warning"
        remedy = "" if state == "ok" else "run nvidia-smi; if that fails as well, reinstall the driver"
        return Finding(state, "GPUs", f"none ({inventory.gpu_note})", remedy)
    names = ", ".join(f"{gpu.id}: {gpu.name}" for gpu in inventory.gpus)
    return Finding("ok", "GPUs", f"{names}; driver {_driver()}{f'; {inventory.gpu_note}' * bool(inventory.gpu_note)}")


def _driver() -> str:
    import pynvml  # type: ignore[import-untyped,unused-ignore]

    pynvml.nvmlInit()
    try:
        return str(pynvml.nvmlSystemGetDriverVersion())
    finally:
        pynvml.nvmlShutdown()


def tensorflow() -> tuple[list[Finding], dict[str, Any]]:
    """Check that TensorFlow is installed in a supported version, and works; also return its answer."""
    version = _tensorflow_version()
    if version is None:
        return [Finding("problem", "TensorFlow", "is not installed", _INSTALL)], {}
    found = (
        []
        if _is_supported(version)
        else [Finding("problem", "TensorFlow", f"{version}, which is not tested", _INSTALL)]
    )
    answer = ask_tensorflow(version)
    if isinstance(answer, Finding):
        return [*found, answer], {}
    return [*found, Finding("ok", "TensorFlow", f"{version}, imported in {answer['seconds']} s")], answer


def keras() -> Finding:
    """Report which Keras is installed, and what is known of it with the installed TensorFlow."""
    version = _version("keras")
    if version is None:
        return Finding("ok", "Keras", "is not installed; only jobs need it")
    tried = _is_supported(_tensorflow_version() or "") and version.startswith("3.")
    return Finding("ok", "Keras", f"{version}{f': {_MODEL_FIT}' if tried else ', which is not tested'}")


def cuda(inventory: Inventory, found: dict[str, Any]) -> Finding:
    """Compare the GPUs that there are with those that TensorFlow sees."""
    extra = "pip install 'tensorflow[and-cuda]'"
    if not found["cuda"]:
        state: State = "problem" if inventory.gpus else "ok"
        return Finding(state, "CUDA", "this TensorFlow is built without CUDA", extra if inventory.gpus else "")
    built = f"built for CUDA {found['cuda']}, cuDNN {found['cudnn']}"
    libraries = f"; finds {', '.join(found['found'])}" if found["found"] else ""
    missing = libraries + (f"; misses {', '.join(found['missing'])}" if found["missing"] else "")
    if not inventory.gpus:
        return Finding("ok", "CUDA", f"{built}{missing}; not needed without a GPU")
    seen = f"{built}; sees {len(found['gpus'])} of {len(inventory.gpus)} GPUs"
    if not found["missing"] and len(found["gpus"]) == len(inventory.gpus):
        return Finding("ok", "CUDA", seen + libraries)
    return Finding("problem", "CUDA", seen + missing, extra)


def start_method(found: dict[str, Any]) -> Finding:
    """Say whether the tasks of a run are forked from one import of TensorFlow."""
    if why := found["why_not_forked"]:
        return Finding("warning", "start", f"each task imports TensorFlow itself: {why}", "runs work, and start later")
    return Finding("ok", "start", "tasks are forked from one import of TensorFlow")


def warm_spawners() -> Iterator[Finding]:
    """Report the processes that wait for the next run (run.keep_warm)."""
    for warm in waiting():
        with suppress(psutil.Error):
            family = [(process := psutil.Process(warm.pid)), *process.children()]
            memory = sum(one.memory_info().rss for one in family) / 2**20
            since = time.strftime("%H:%M:%S", time.localtime(warm.path.stat().st_ctime))
            message = f"process {warm.pid} has imported TensorFlow and waits since {since}, {memory:.0f} MiB"
            yield Finding("ok", "warm spawner", message, f"it ends by itself (run.keep_warm), or by kill {warm.pid}")


def _is_supported(version: str) -> bool:
    return version.split(".")[:2] == [str(part) for part in SUPPORTED]


def _tensorflow_version() -> str | None:
    return _version("tensorflow") or _version("tensorflow-cpu")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def ask_tensorflow(version: str) -> dict[str, Any] | Finding:
    """Ask TensorFlow in a process of its own: what is installed may still miss a library or a CPU feature."""
    command = [sys.executable, "-P", "-m", "launcher.runtime.diagnosis"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT, check=False)
    except subprocess.TimeoutExpired:
        return Finding(
            "problem", "TensorFlow", f"{version} was not imported after {_IMPORT} s", "check whether the disk is slow"
        )
    if done.returncode == 0:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
    why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return Finding("problem", "TensorFlow", f"{version} cannot be imported: {why}", f"in a new .venv: {_INSTALL}")


def private_network() -> Finding:
    """Try whether the kernel gives a network namespace, and what leads out of it, in a process of its own."""
    command = [sys.executable, "-P", "-m", "launcher.engines.local.network.settled"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_NETWORK, check=False)
    except subprocess.TimeoutExpired:
        return Finding("warning", "private network", f"could not be created within {_NETWORK} s", _OPEN)
    if done.returncode:
        return Finding("warning", "private network", done.stderr.strip().rpartition("\n")[2], _OPEN)
    network = Network(**json.loads(done.stdout))
    return Finding("ok" if network.is_as_asked else "warning", "private network", network.state, network.remedy)


def containers() -> Finding:
    """Look for a container engine and its compose."""
    try:
        engine = Docker.find()
        compose = f"{' '.join(engine.compose)} {engine.compose_version()}"
    except LauncherError as error:
        what, _, remedy = str(error).partition("; ")
        return Finding("warning" if shutil.which("docker") else "ok", "containers", what, remedy)
    return Finding("ok", "containers", f"Docker Engine {engine.version}, {compose}")


def proxies() -> Iterator[Finding]:
    """Look for proxies that gRPC would go through."""
    there = [name for proxy in _PROXIES for name in (proxy, proxy.upper()) if os.environ.get(name)]
    if there:  # the names alone: what they hold may have a password in it
        message = f"{', '.join(there)}: used for downloads only; the cluster's gRPC bypasses it"
        yield Finding("ok", "proxies", message)
    else:
        yield Finding("ok", "proxies", "none is set")


def own_name() -> Finding:
    """Check whether this machine knows its own name."""
    if resolves(socket.gethostname()):
        return Finding("ok", "hostname", "has an address")
    remedy = "add it to /etc/hosts, beside 127.0.1.1; tasks on several machines find each other by name"
    return Finding("warning", "hostname", "has no address", remedy)


def resolves(name: str) -> bool:
    """Whether a host's name has an address."""
    return bool(addresses_of(name))


def addresses_of(name: str) -> set[str]:
    """Return the addresses of a host's name; none if only the cluster's own network knows it."""
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(name.strip("[]"), None)}
    except (OSError, UnicodeError):
        return set()
