"""``launcher check``: the cluster file, then what this machine must offer."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import psutil

from launcher.commands.options import cluster_file, tasks_here
from launcher.contract.task import Task
from launcher.engines.local.engine import network_of
from launcher.engines.local.run import LocalRun
from launcher.engines.table import load
from launcher.errors import SpecError
from launcher.host.inventory import Inventory, take
from launcher.host.ports import who_holds
from launcher.plan.placement import place_file, ports_needed
from launcher.plan.plan import Plan
from launcher.rundir import RunFiles
from launcher.spec.file import ClusterFile, check_job
from launcher.spec.model import split_address
from launcher.spec.rules import is_loopback

SUPPORTED = (2, 21)
_ANSWER = re.compile(r"(?P<task>\w+:\d+) (?P<answer>[CG]PU:\d+: .*)")  # what jobs/hello.py prints
_IMPORT = 120  # seconds; the first time after an install takes a good part of a minute
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
@click.option("--live", is_flag=True, help="Then start the cluster with the job hello, and report each task.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(file: Path, overrides: Sequence[str], live: bool, as_json: bool) -> None:
    """Check FILE, then what it asks of this machine: TensorFlow, devices, ports, a place to write to.

    Exit codes: 0 all is well; 2 there is a problem. Without --live nothing is started.

    \b
    Example:
      launcher check --live --set mode=async
    """
    findings: list[Finding] = []
    for finding in _all(file, overrides, live=live):
        findings.append(finding)
        if not as_json:
            click.echo(str(finding))
    ok = all(finding.ok for finding in findings)
    if as_json:
        click.echo(json.dumps({"ok": ok, "checks": [asdict(finding) for finding in findings]}, indent=2))
    sys.exit(0 if ok else 2)


def _all(file: Path, overrides: Sequence[str], *, live: bool) -> Iterator[Finding]:
    found = []
    for finding in examine(file, overrides):
        found.append(finding)
        yield finding
    if live and all(finding.ok for finding in found):
        yield from greet(load(file, overrides))


def greet(file: ClusterFile) -> Iterator[Finding]:
    """Start the cluster with the job hello, and look what each of its tasks computed."""
    heard = Heard()
    with tempfile.TemporaryDirectory() as output:
        asked = replace(file, spec=file.spec.model_copy(update={"job": "hello", "args": {}}))
        plan = place_file(asked, take(ports_needed(asked.spec)))
        here = tasks_here(plan)
        files = RunFiles.create(Path(output), asked.spec.name)
        launch = LocalRun(plan, here, files, heard, network=network_of(asked.spec), began=time.monotonic())
        outcome = launch.run()
    for task in here:
        said = heard.answers.get(str(task.task), [])
        yield Finding(bool(said) and outcome.exit_code == 0, str(task.task), "; ".join(said) or "computed nothing")
    if outcome.cause:
        yield Finding(False, str(outcome.cause.task), outcome.cause.error)


class Heard:
    """A screen that keeps what hello computed: task → a line for each of its devices."""

    def __init__(self) -> None:
        self.answers: dict[str, list[str]] = {}

    def line(self, task: Task, text: str) -> None:
        """Keep an answer under the task that computed it, whoever printed it."""
        if found := _ANSWER.fullmatch(text):
            self.answers.setdefault(found["task"], []).append(found["answer"])

    def note(self, text: str) -> None:
        """Show nothing: the findings say it all."""

    def progress(self, progress: Mapping[str, Any]) -> None:
        """Show nothing: hello is over before anyone looks."""


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
    """Look whether TensorFlow is there at a supported version, and works."""
    wanted = ".".join(map(str, SUPPORTED))
    for wheel in _WHEELS:
        try:
            version = metadata.version(wheel)
        except metadata.PackageNotFoundError:
            continue
        if version.split(".")[:2] == wanted.split("."):
            return importable(version)
        return Finding(False, "TensorFlow", f"{version} is installed; pip install 'tensorflow=={wanted}.*'")
    return Finding(False, "TensorFlow", f"is not installed; pip install 'tensorflow=={wanted}.*'")


def importable(version: str) -> Finding:
    """Import TensorFlow in a process of its own: what is installed may still miss a library or a CPU feature."""
    # Keras is left out as it is in every task (launcher/runtime/main.py).
    code = "import sys; sys.modules['keras'] = None; import tensorflow"
    try:
        python = [sys.executable, "-c", code]
        done = subprocess.run(python, capture_output=True, text=True, timeout=_IMPORT, check=False)
    except subprocess.TimeoutExpired:
        return Finding(False, "TensorFlow", f"{version} was not imported after {_IMPORT} s; is the disk that slow?")
    if done.returncode == 0:
        return Finding(True, "TensorFlow", f"{version} can be imported")
    why = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return Finding(False, "TensorFlow", f"{version} is installed and cannot be imported: {why[0]}")


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
        if (why := who_holds(port))
    ]
    yield from held
    if not held:
        free = ", ".join(str(port) for port in sorted(fixed.values())[:10])
        elsewhere = "those of the file are on other machines" if written.keys() - here.keys() else ""
        none = elsewhere or "none is fixed; free ones are chosen at each start"
        yield Finding(True, "ports", f"{free} free" if free else none)


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
