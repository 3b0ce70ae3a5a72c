"""``launcher check``: the cluster file, then what this machine must offer."""

from __future__ import annotations

import errno
import json
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import click
import psutil

from launcher.cluster.config import ClusterFile, check_job, load
from launcher.cluster.inventory import Inventory, take
from launcher.cluster.placement import place_file, ports_needed
from launcher.cluster.plan import Plan
from launcher.cluster.rules import is_loopback
from launcher.cluster.spec import split_address
from launcher.commands.options import cluster_file
from launcher.errors import SpecError

SUPPORTED = (2, 21)
_WHEELS = ("tensorflow", "tensorflow-cpu")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what was found."""

    ok: bool
    about: str
    message: str

    def __str__(self) -> str:
        return f"{'ok' if self.ok else 'problem':<9}{self.about}: {self.message}"


@click.command()
@cluster_file
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(file: Path, overrides: Sequence[str], as_json: bool) -> None:
    """Check FILE, then what it asks of this machine: TensorFlow, devices, ports, a place to write to.

    Exit codes: 0 all is well; 2 there is a problem. Nothing is started.
    """
    findings: list[Finding] = []
    for finding in examine(file, overrides):
        findings.append(finding)
        if not as_json:
            click.echo(str(finding))
    ok = all(finding.ok for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": ok, "checks": [asdict(finding) for finding in findings]}, indent=2))
    sys.exit(0 if ok else 2)


def examine(path: Path, overrides: Sequence[str]) -> Iterator[Finding]:
    """Look at everything, as far as it can be looked at; what depends on a wrong file is left out."""
    try:
        file = load(path, overrides)
    except SpecError as error:
        yield from problems(error)
        yield tensorflow()
        return
    yield Finding(True, str(path), f"{file.spec.mode}, {_tasks(file.spec.cluster.size)}")
    yield from job(file)
    yield tensorflow()
    yield from host(file)
    yield output(file)


def problems(error: SpecError) -> Iterator[Finding]:
    """Yield each problem of a file as a finding."""
    for problem in error.problems:
        yield Finding(False, problem.where, f"{problem.key}: {problem.message}" if problem.key else problem.message)


def job(file: ClusterFile) -> Iterator[Finding]:
    """Find the job, and check its args where that needs no TensorFlow."""
    try:
        check_job(file)
    except SpecError as error:
        yield from problems(error)
    else:
        yield Finding(True, "job", file.spec.job)


def tensorflow() -> Finding:
    """Look whether TensorFlow is installed at a supported version, without importing it."""
    wanted = ".".join(map(str, SUPPORTED))
    for wheel in _WHEELS:
        try:
            version = metadata.version(wheel)
        except metadata.PackageNotFoundError:
            continue
        if version.split(".")[:2] == wanted.split("."):
            return Finding(True, "TensorFlow", version)
        return Finding(False, "TensorFlow", f"{version} is installed; pip install 'tensorflow=={wanted}.*'")
    return Finding(False, "TensorFlow", f"is not installed; pip install 'tensorflow=={wanted}.*'")


def host(file: ClusterFile) -> Iterator[Finding]:
    """Look whether this machine has the cores, the GPUs and the ports that the file asks for."""
    inventory = take(ports_needed(file.spec))
    try:
        plan = place_file(file, inventory)
    except SpecError as error:
        yield from problems(error)
        return
    gpus = f"{len(inventory.gpus)}" if inventory.gpus else f"none ({inventory.gpu_note})"
    enough = f"enough for {_tasks(len(plan.tasks))}"
    yield Finding(True, "devices", f"{enough}; this machine has cores: {len(inventory.cores)}, GPUs: {gpus}")
    yield from ports(plan, inventory)


def ports(plan: Plan, inventory: Inventory) -> Iterator[Finding]:
    """Look whether each port that the file fixes on this machine is free, and name who holds it."""
    written = {f"the rendezvous of {plan.leader}": plan.rendezvous} if plan.rendezvous else {}
    written = {str(task.task): task.address for task in plan.tasks if task.address} | written
    here = {name: split_address(address) for name, address in written.items() if _is_here(split_address(address)[0])}
    fixed = {name: port for name, (_, port) in here.items() if port and port not in inventory.ports}
    held = [
        Finding(False, f"port {port}", f"{name} needs it; {why}")
        for name, port in fixed.items()
        if (why := _held(port))
    ]
    yield from held
    if not held:
        free = ", ".join(str(port) for port in sorted(fixed.values())[:10])
        yield Finding(True, "ports", f"{free} free" if free else "none is fixed; free ones are chosen at each start")


def output(file: ClusterFile) -> Finding:
    """Look whether run.output can be written to, or be made."""
    directory = file.directory / file.spec.run.output
    there = next(path for path in (directory, *directory.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            return Finding(True, "output", f"{directory} can be written to")
    except OSError as error:
        message = f"run.output: {there} cannot be written to: {error.strerror}"
        return Finding(False, file.locate("run.output"), message)


def _tasks(number: int) -> str:
    return f"{number} task{'' if number == 1 else 's'}"


def _is_here(name: str) -> bool:
    if is_loopback(name) or name.lower() == socket.gethostname().lower():
        return True
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    try:
        return any(info[4][0] in own for info in socket.getaddrinfo(name.strip("[]"), None))
    except (OSError, UnicodeError):
        return False  # a name that only the cluster's own network knows


def _held(port: int) -> str:
    """Return why nobody can listen on the port, or nothing."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # A port whose last connection is still dying down is free for a server.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
    except OSError as error:
        return _holder(port) if error.errno == errno.EADDRINUSE else f"it cannot be opened: {error.strerror}"
    return ""


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {process.pid}) holds it"
    except psutil.Error:
        pass  # some systems let only root look, and a process may end meanwhile
    return "another process holds it"
