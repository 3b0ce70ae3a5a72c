"""The probes of a cluster file for ``check`` and ``doctor``: the file, its job, and what it needs of this machine."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from launcher.commands.findings import Finding, shown
from launcher.commands.machine_probes import MORE_MEMORY, addresses_of, resolves
from launcher.engines.table import find, load
from launcher.errors import LauncherError, Problem, SpecError
from launcher.host.inventory import Inventory, take
from launcher.host.ports import who_holds
from launcher.plan.cores import usable_cores
from launcher.plan.memory import Import, compared, importing, room, tasks_on_one_host
from launcher.plan.placement import ports_needed
from launcher.plan.plan import Plan
from launcher.spec.file import ClusterFile, check_job
from launcher.spec.model import split_address
from launcher.spec.rules import is_loopback
from launcher.text import counted

Show = Callable[[Problem], Finding]  # how a problem of the file is shown: with its value, or masked


def examine(path: Path, overrides: Sequence[str], show: Show = shown) -> Iterator[Finding]:
    """Check everything that can be checked; what depends on an invalid file is left out."""
    try:
        file = load(path, overrides)
    except SpecError as error:
        yield from map(show, error.problems)
        return
    yield Finding("ok", str(path), f"{file.spec.mode}, {counted(file.spec.cluster.size, 'task')}")
    yield from job(file, show)
    yield from host(file, show)
    yield output(file, show)


def job(file: ClusterFile, show: Show = shown) -> Iterator[Finding]:
    """Find the job, and check its args if that needs no TensorFlow."""
    try:
        check_job(file)
    except SpecError as error:
        yield from map(show, error.problems)
    else:
        yield Finding("ok", "job", file.spec.job)


def host(file: ClusterFile, show: Show = shown) -> Iterator[Finding]:
    """Check whether this machine has the cores, the GPUs, the memory and the ports that the file asks for."""
    inventory = take(ports_needed(file.spec))
    try:
        plan = find(file.spec.run.on).plan(file, inventory)
    except SpecError as error:
        yield from map(show, error.problems)
        return
    except LauncherError as error:
        yield Finding("problem", "devices", str(error))
        return
    gpus = f"{len(inventory.gpus)}" if inventory.gpus else f"none ({inventory.gpu_note})"
    enough = f"enough for {counted(len(plan.tasks), 'task')}"
    yield Finding("ok", "devices", f"{enough}; this machine has cores: {len(usable_cores(inventory))}, GPUs: {gpus}")
    together = find(file.spec.run.on).starts_parts
    here = tasks_on_one_host(plan) if together else len(plan.tasks)
    yield from memory(here, inventory, importing(plan, together=together))
    yield from ports(plan, inventory)


def memory(tasks: int, inventory: Inventory, who: Import) -> Iterator[Finding]:
    """Compare what so many tasks need to start with the memory that is free here; too little is no problem yet."""
    if there := inventory.memory:
        said, enough = compared(tasks, there, who), tasks <= room(there, who)
        yield Finding("ok", "memory", said) if enough else Finding("warning", "memory", said, MORE_MEMORY)


def ports(plan: Plan, inventory: Inventory) -> Iterator[Finding]:
    """Check whether each port that the file fixes on this machine is free, and name the process that holds it."""
    written = {f"the rendezvous of {plan.leader}": plan.rendezvous} if plan.rendezvous else {}
    written = {str(task.task): task.address for task in plan.tasks if task.address} | written
    here = {name: split_address(address) for name, address in written.items() if _is_here(split_address(address)[0])}
    fixed = {name: port for name, (_, port) in here.items() if port and port not in inventory.ports}
    held = [
        Finding("problem", f"port {port}", f"{name} needs it; {why}", "stop that program, or choose another port")
        for name, port in fixed.items()
        if (why := who_holds(port))
    ]
    yield from held
    if not held:
        free = ", ".join(str(port) for port in sorted(fixed.values())[:10])
        elsewhere = "none of the file's ports is on this machine" if written.keys() - here.keys() else ""
        none = elsewhere or "none is fixed; free ports are chosen at each start"
        yield Finding("ok", "ports", f"{free} free" if free else none)


def output(file: ClusterFile, show: Show = shown) -> Finding:
    """Check whether run.output can be written to, or be made."""
    directory = there = file.directory / file.spec.run.output
    try:
        there = next(path for path in (directory, *directory.parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            return Finding("ok", "output", f"{file.spec.run.output} can be written to")
    except OSError as error:
        return show(Problem(file.locate("run.output"), "run.output", f"{there} cannot be written to: {error.strerror}"))


def hosts(file: ClusterFile) -> Iterator[Finding]:
    """Check whether every host of the file has an address."""
    names = {split_address(address)[0] for _, job in file.spec.cluster.items() for address in job.addresses}
    unknown = sorted(name for name in names if not resolves(name))
    if unknown:
        remedy = "add them to the DNS or to /etc/hosts, on every machine of the cluster"
        yield Finding("problem", "hosts", f"no address for {', '.join(unknown)}", remedy)
    elif names:
        yield Finding("ok", "hosts", f"{counted(len(names), 'name')} of the file, each with an address")


def _is_here(name: str) -> bool:
    if is_loopback(name) or name.lower() == socket.gethostname().lower():
        return True
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    return not own.isdisjoint(addresses_of(name))
