"""What ``doctor`` looks at of the cluster file: nothing of it that may be secret is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from launcher.commands.setup.diagnosis import Diagnosis, resolves
from launcher.commands.train.check import ports
from launcher.engines.table import load
from launcher.errors import LauncherError, Problem, SpecError
from launcher.host.inventory import take
from launcher.plan.placement import place_file, ports_needed
from launcher.spec.file import ClusterFile, check_job
from launcher.spec.model import split_address
from launcher.terminal.summary import counted

DEFAULT = Path("cluster.yaml")


def cluster(path: Path, overrides: Sequence[str]) -> Iterator[Diagnosis]:
    """Look at the cluster file, and at what it asks of this machine and of the network."""
    if path == DEFAULT and not path.exists():
        yield Diagnosis("ok", "cluster file", f"there is no {path}", "launcher config init writes one")
        return
    try:
        file = load(path, overrides)
        check_job(file)
        plan = place_file(file, inventory := take(ports_needed(file.spec)))
    except SpecError as error:
        yield from (_without_secrets(problem, path) for problem in error.problems)
        return
    except LauncherError as error:
        yield Diagnosis("problem", "cluster file", str(error))
        return
    yield Diagnosis("ok", "cluster file", f"{path}: {file.spec.mode}, {counted(len(plan.tasks), 'task')}")
    yield from hosts(file)
    for finding in ports(plan, inventory):
        state: Literal["ok", "problem"] = "ok" if finding.ok else "problem"
        remedy = "" if finding.ok else "end that program, or choose another port"
        yield Diagnosis(state, finding.about, finding.message, remedy)


def hosts(file: ClusterFile) -> Iterator[Diagnosis]:
    """Look whether every host of the file has an address."""
    names = {split_address(address)[0] for _, job in file.spec.cluster.items() for address in job.addresses}
    unknown = sorted(name for name in names if not resolves(name))
    if unknown:
        remedy = "add them to the DNS or to /etc/hosts, on every machine of the cluster"
        yield Diagnosis("problem", "hosts", f"no address for {', '.join(unknown)}", remedy)
    elif names:
        yield Diagnosis("ok", "hosts", f"{counted(len(names), 'name')} of the file, each with an address")


def _without_secrets(problem: Problem, path: Path) -> Diagnosis:
    """Show a problem; of args, of a variable and of --set only where it is, since values may be passwords."""
    given = problem.where.startswith("--set ")
    parts = problem.key.split(".")
    if not (given or parts[0] == "args" or "env" in parts[2:3]):
        return Diagnosis("problem", "cluster file", str(problem))
    where = "--set" if given else problem.where
    message = f"{where}: {problem.key}: is wrong" if problem.key else f"{where} is wrong"
    return Diagnosis("problem", "cluster file", message, f"launcher check {path} shows it, with its value")
