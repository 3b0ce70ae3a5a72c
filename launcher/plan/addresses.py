"""The address of each task: as written in the cluster file, otherwise on this machine with a free port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from launcher.contract.task import Task
from launcher.errors import Problem, SpecError
from launcher.spec.model import LOOPBACK, ClusterSpec, JobSpec, split_address
from launcher.spec.rules import machine


@dataclass(frozen=True)
class Addresses:
    """The address of each task that others connect to, and of the rendezvous (empty if there is none)."""

    of: dict[Task, str]
    rendezvous: str


def ports_needed(spec: ClusterSpec) -> int:
    """Return how many free ports a plan of this spec needs at most: its tasks, an added chief, the rendezvous."""
    return sum(job.tasks for _, job in spec.cluster.items() if not job.addresses and job.port is None) + 2


def assign_addresses(
    spec: ClusterSpec, tasks: Iterable[Task], leader: Task, free: Iterable[int], *, meet: bool
) -> Addresses:
    """Return the address of every task; without ``meet`` one task trains alone, and only written addresses are used.

    If addresses are written, they come from the file alone, so that every machine computes the same.
    """
    written = _Written(spec)
    ports = (port for port in free if port not in written.reserved)
    found: dict[Task, str] = {}
    for task in tasks:
        host, port = written.endpoint(task)
        if port is not None:
            found[task] = f"{host}:{port}"
        elif meet and task.job != "evaluator":
            found[task] = _chosen(written, task, host, ports, behind=1)
    if not meet:
        return Addresses(found, "")
    host, _ = split_address(found[leader])
    # An added chief takes the port after the highest written one; the rendezvous takes the next.
    behind = 2 if leader not in written.tasks else 1
    return Addresses(found, _chosen(written, leader, host, ports, behind))


def _chosen(written: _Written, task: Task, host: str, ports: Iterator[int], behind: int) -> str:
    if written.is_distributed(task):
        return f"{host}:{written.highest(host) + behind}"
    try:
        return f"{host}:{next(ports)}"
    except StopIteration:
        message = "needs more free ports than this machine has; start fewer tasks, or set port"
        raise SpecError([Problem("", f"cluster.{task.job}", message)]) from None


class _Written:
    """The addresses that the file fixes, by task and by machine."""

    def __init__(self, spec: ClusterSpec) -> None:
        self._jobs = dict(spec.cluster.items())
        self._endpoints = {name: job.endpoints() for name, job in self._jobs.items()}
        self.tasks = {Task(name, i) for name, ends in self._endpoints.items() for i in range(len(ends))}
        self._highest: dict[str, int] = {}
        self.reserved: set[int] = set()
        for host, port in (end for ends in self._endpoints.values() for end in ends):
            if port is not None:
                self._highest[machine(host)] = max(port, self.highest(host))
                self.reserved.add(port)
        self.reserved |= {port + behind for port in self._highest.values() for behind in (1, 2)}

    def highest(self, host: str) -> int:
        """Return the highest port written for that machine, 0 if none is."""
        return self._highest.get(machine(host), 0)

    def endpoint(self, task: Task) -> tuple[str, int | None]:
        """Return the host and, if the file fixes it, the port. A chief that was added runs on the host of worker:0."""
        if task in self.tasks:
            return self._endpoints[task.job][task.index]
        worker = self._endpoints.get("worker")
        return (worker[0][0] if worker else LOOPBACK), None

    def is_distributed(self, task: Task) -> bool:
        """Whether the file says on which host the task runs, so that other machines must come to the same answer."""
        job: JobSpec | None = self._jobs.get(task.job if task in self.tasks else "worker")
        return bool(job and job.addresses)
