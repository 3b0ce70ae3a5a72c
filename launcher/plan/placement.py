"""place: what was asked and what there is become a Plan; pure, so that every machine computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from launcher.contract.roles import ROLES, Role
from launcher.contract.task import Task
from launcher.errors import SpecError
from launcher.host.inventory import Inventory
from launcher.plan.addresses import assign_addresses, ports_needed
from launcher.plan.devices import DeviceShare, assign_devices, assumed_inventory
from launcher.plan.plan import Idle, Plan, TaskPlan
from launcher.plan.requests import TaskRequest
from launcher.plan.strategy import check_devices, choose_strategy
from launcher.spec.file import ClusterFile
from launcher.spec.model import LOOPBACK, ClusterSpec, JobSpec, split_address
from launcher.spec.rules import machine

__all__ = ["hosts", "place", "place_file", "ports_needed", "with_ports"]

NO_PS = "sync mode starts no ps: MultiWorkerMirroredStrategy keeps every variable on every worker"


def place_file(file: ClusterFile, inventory: Inventory, here: Task | str | None = None) -> Plan:
    """Place a cluster file's tasks; SpecError names the line of what this host does not have."""
    try:
        return place(file.spec, inventory, str(file.directory), here)
    except SpecError as error:
        raise file.blame(error) from None


def place(spec: ClusterSpec, inventory: Inventory, directory: str = "", here: Task | str | None = None) -> Plan:
    """Decide what starts where; SpecError (keys without lines) if the host has less than was asked.

    ``here`` is the machine that the inventory belongs to, by its name or by a task that runs on it; the other machines
    are assumed to have what is asked of them. None: all are like this one.
    """
    requests, idle = _requests(spec)
    leader = next(request.task for request in requests if request.role.ends_run)
    meet = spec.mode == "async" or sum(request.role is Role.TRAIN for request in requests) > 1
    addresses = assign_addresses(spec, [request.task for request in requests], leader, inventory.ports, meet=meet)
    where = _host(addresses.of.get(here, "")) if isinstance(here, Task) else here
    shares = _shares(requests, addresses.of, inventory, where)
    check_devices(requests, shares, alone=not meet)
    cluster = _cluster(requests, addresses.of) if meet else {}
    fixed = _fixed_environment(spec, cluster, addresses.rendezvous)
    tasks = tuple(_task_plan(request, addresses.of, shares[request.task], fixed) for request in requests)
    strategy = choose_strategy(requests, shares)
    return Plan(spec, directory, *strategy, tasks, idle, cluster, leader, addresses.rendezvous)


def with_ports(plan: Plan, ports: Sequence[int]) -> Plan:
    """Return the plan with these ports instead of those that were chosen; ports that the file fixes stay."""
    tasks = [task.task for task in plan.tasks]
    addresses = assign_addresses(plan.spec, tasks, plan.leader, ports, meet=bool(plan.rendezvous))
    moved = tuple(replace(task, address=addresses.of.get(task.task, "")) for task in plan.tasks)
    cluster = {name: tuple(addresses.of[Task(name, i)] for i in range(len(old))) for name, old in plan.cluster.items()}
    return replace(plan, tasks=moved, cluster=cluster, rendezvous=addresses.rendezvous)


def hosts(plan: Plan) -> tuple[str, ...]:
    """Return the machines that the tasks run on, as addresses name them; at most one if this machine is enough."""
    found: dict[str, str] = {}
    for task in plan.tasks:
        if task.host:
            found.setdefault(machine(task.host), task.host)
    return tuple(found.values())


def _requests(spec: ClusterSpec) -> tuple[list[TaskRequest], tuple[Idle, ...]]:
    """Return the tasks that start, leader first, and those that do not."""
    roles = ROLES[spec.mode]
    requests = [TaskRequest(task, job, roles[task.job]) for task, job in spec.cluster.tasks() if task.job in roles]
    if spec.mode == "async" and not any(request.task.job == "chief" for request in requests):
        requests.insert(0, TaskRequest(Task("chief", 0), JobSpec(), Role.COORDINATE))
    return requests, tuple(Idle(task, NO_PS) for task, _ in spec.cluster.tasks() if task.job not in roles)


def _host(address: str | None) -> str:
    return machine(split_address(address)[0]) if address else LOOPBACK


def _shares(
    requests: Sequence[TaskRequest], addresses: dict[Task, str], inventory: Inventory, here: str | None
) -> dict[Task, DeviceShare]:
    """Assign the devices of each host."""
    hosts: dict[str, list[TaskRequest]] = {}
    for request in requests:
        hosts.setdefault(_host(addresses.get(request.task)), []).append(request)
    found: dict[Task, DeviceShare] = {}
    for host, group in hosts.items():
        is_known = here is None or machine(here) == host
        found |= assign_devices(group, inventory if is_known else assumed_inventory(group, inventory))
    return found


def _cluster(requests: Sequence[TaskRequest], addresses: dict[Task, str]) -> dict[str, tuple[str, ...]]:
    joined = (request.task for request in requests if request.role.joins_cluster)
    return {name: tuple(addresses[task] for task in tasks) for name, tasks in groupby(joined, lambda task: task.job)}


def _fixed_environment(spec: ClusterSpec, cluster: dict[str, tuple[str, ...]], rendezvous: str) -> dict[str, str]:
    # The launcher holds the ports that it chose until the tasks bind them, so they have to be shared.
    fixed = {"PYTHONUNBUFFERED": "1", "GRPC_FAIL_FAST": "use_caller", "TF_GRPC_REUSE_PORT": "true"}
    if cluster:
        # A proxy that is set for downloads would get the cluster's gRPC traffic, too. gRPC reads this variable before
        # no_proxy, which stays as the user has it.
        hosts = {split_address(address)[0] for job in cluster.values() for address in job}
        fixed["no_grpc_proxy"] = ",".join(sorted(hosts | {split_address(rendezvous)[0]}))
    if spec.mode == "async":
        # Servers block a thread for each worker that they talk to.
        fixed["TF_NUM_INTEROP_THREADS"] = str(len(cluster.get("worker", ())) + 1)
    return fixed


def _task_plan(request: TaskRequest, addresses: dict[Task, str], share: DeviceShare, fixed: dict[str, str]) -> TaskPlan:
    environment = dict(fixed)
    # As many threads as cores, which is TensorFlow's own choice: a second thread per core cost 40% of the speed.
    if request.role in (Role.TRAIN, Role.EVALUATE):
        environment["TF_NUM_INTEROP_THREADS"] = str(share.threads)
    environment["TF_NUM_INTRAOP_THREADS"] = environment["OMP_NUM_THREADS"] = str(share.threads)
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, share.gpus)) or "-1"
    if share.gpus:
        # Numbered as in nvidia-smi and the inventory; memory is allocated as it is needed, not all of it at once.
        environment |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    return TaskPlan(
        task=request.task,
        role=request.role,
        address=addresses.get(request.task, ""),
        cores=share.cores,
        gpus=share.gpus,
        gpu_memory=request.job.gpu_memory if share.gpus else None,
        virtual_devices=request.job.virtual_devices if request.trains else None,
        environment=environment | dict(request.job.env),
    )
