"""place: what was asked and what is there, joined into a Plan; pure, so every machine computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from launcher.contract.roles import ROLES, Role
from launcher.contract.task import Task
from launcher.errors import SpecError
from launcher.host.inventory import Inventory
from launcher.plan.addresses import assign, ports_needed
from launcher.plan.devices import Share, deal, large_enough
from launcher.plan.plan import Idle, Plan, TaskPlan
from launcher.plan.requests import Member, refuse
from launcher.spec.file import ClusterFile
from launcher.spec.model import LOOPBACK, ClusterSpec, JobSpec, split_address
from launcher.spec.rules import ONE_CPU_DEVICE, PARTS_NEED_MEMORY, machine

__all__ = ["hosts", "place", "place_file", "ports_needed", "renewed"]

NO_PS = "sync mode starts no ps: MultiWorkerMirroredStrategy keeps every variable on every worker"
_ONE_TO_ONE = {
    Role.TRAIN: "TensorFlow joins the devices of all training tasks one to one",
    Role.COMPUTE: "ParameterServerStrategy runs one and the same step on every worker",
}


def place_file(file: ClusterFile, inventory: Inventory, here: Task | str | None = None) -> Plan:
    """Place a cluster file's tasks; SpecError names the line of what this host cannot give."""
    try:
        return place(file.spec, inventory, str(file.directory), here)
    except SpecError as error:
        raise file.blame(error) from None


def place(spec: ClusterSpec, inventory: Inventory, directory: str = "", here: Task | str | None = None) -> Plan:
    """Decide what starts where; SpecError (keys without lines) where the host has less than was asked.

    ``here`` is the machine that the inventory is of, by its name or by a task that lies on it; the other machines are
    trusted to have what is asked of them. None: all are like this one.
    """
    members, idle = _members(spec)
    training = [member for member in members if member.role is Role.TRAIN]
    leader = next(member.task for member in members if member.role.ends_run)
    meet = spec.mode == "async" or len(training) > 1
    addresses = assign(spec, [member.task for member in members], leader, inventory.ports, meet=meet)
    where = _host(addresses.of.get(here, "")) if isinstance(here, Task) else here
    shares = _shares(members, addresses.of, inventory, where)
    _same_devices([member for member in members if member.trains], shares, alone=not meet)
    cluster = _cluster(members, addresses.of) if meet else {}
    fixed = _fixed_environment(spec, cluster, addresses.rendezvous)
    tasks = tuple(_task_plan(member, addresses.of, shares[member.task], fixed) for member in members)
    strategy, communication, reason = _strategy(tasks, training, shares)
    return Plan(spec, directory, strategy, communication, reason, tasks, idle, cluster, leader, addresses.rendezvous)


def renewed(plan: Plan, ports: Sequence[int]) -> Plan:
    """Return the plan with these ports instead of those that were chosen; what the file fixes stays."""
    tasks = [task.task for task in plan.tasks]
    addresses = assign(plan.spec, tasks, plan.leader, ports, meet=bool(plan.rendezvous))
    moved = tuple(replace(task, address=addresses.of.get(task.task, "")) for task in plan.tasks)
    cluster = {name: tuple(addresses.of[Task(name, i)] for i in range(len(old))) for name, old in plan.cluster.items()}
    return replace(plan, tasks=moved, cluster=cluster, rendezvous=addresses.rendezvous)


def hosts(plan: Plan) -> tuple[str, ...]:
    """Return the machines that the tasks lie on, as addresses name them; at most one: this machine is enough."""
    found: dict[str, str] = {}
    for task in plan.tasks:
        if task.host:
            found.setdefault(machine(task.host), task.host)
    return tuple(found.values())


def _members(spec: ClusterSpec) -> tuple[list[Member], tuple[Idle, ...]]:
    """Return the tasks that start, leader first, and those that do not."""
    roles = ROLES[spec.mode]
    members = [Member(task, job, roles[task.job]) for task, job in spec.cluster.tasks() if task.job in roles]
    if spec.mode == "async" and not any(member.task.job == "chief" for member in members):
        members.insert(0, Member(Task("chief", 0), JobSpec(), Role.COORDINATE))
    return members, tuple(Idle(task, NO_PS) for task, _ in spec.cluster.tasks() if task.job not in roles)


def _host(address: str | None) -> str:
    return machine(split_address(address)[0]) if address else LOOPBACK


def _shares(
    members: Sequence[Member], addresses: dict[Task, str], inventory: Inventory, here: str | None
) -> dict[Task, Share]:
    """Deal devices on each host by itself."""
    hosts: dict[str, list[Member]] = {}
    for member in members:
        hosts.setdefault(_host(addresses.get(member.task)), []).append(member)
    found: dict[Task, Share] = {}
    for host, group in hosts.items():
        is_known = here is None or machine(here) == host
        found |= deal(group, inventory if is_known else large_enough(group, inventory))
    return found


def _same_devices(training: Sequence[Member], shares: dict[Task, Share], *, alone: bool) -> None:
    """Refuse what TensorFlow would hang or fail on: tasks that train together on unequal devices."""
    first = training[0]
    for member in training:
        name, gpus, virtual = member.task.job, len(shares[member.task].gpus), member.job.virtual_devices or 1
        _same(member, first, "gpus", "GPU", gpus, len(shares[first.task].gpus))
        _same(member, first, "virtual_devices", "virtual device", virtual, first.job.virtual_devices or 1)
        if gpus and virtual > 1 and member.job.gpu_memory is None:
            refuse(name, "virtual_devices", PARTS_NEED_MEMORY)
        if virtual > 1 and not gpus and not alone:
            refuse(name, "virtual_devices", ONE_CPU_DEVICE)


def _same(member: Member, first: Member, key: str, word: str, mine: int, others: int) -> None:
    if mine != others:
        why = _ONE_TO_ONE[first.role]
        have = f"{member.task} would have {_count(mine, word)} and {first.task} {others}"
        refuse(member.task.job, key, f"{have}; {why}, so each needs the same number")


def _cluster(members: Sequence[Member], addresses: dict[Task, str]) -> dict[str, tuple[str, ...]]:
    joined = (member.task for member in members if member.role.joins_cluster)
    return {name: tuple(addresses[task] for task in tasks) for name, tasks in groupby(joined, lambda task: task.job)}


def _fixed_environment(spec: ClusterSpec, cluster: dict[str, tuple[str, ...]], rendezvous: str) -> dict[str, str]:
    # The launcher holds the ports that it chose until the tasks bind them, so they have to be shared.
    fixed = {"PYTHONUNBUFFERED": "1", "GRPC_FAIL_FAST": "use_caller", "TF_GRPC_REUSE_PORT": "true"}
    if cluster:
        # A proxy that is set for downloads would get the cluster's gRPC as well. This variable is gRPC's own and goes
        # before no_proxy, which stays as the user has it.
        hosts = {split_address(address)[0] for job in cluster.values() for address in job}
        fixed["no_grpc_proxy"] = ",".join(sorted(hosts | {split_address(rendezvous)[0]}))
    if spec.mode == "async":
        # Servers block a thread for each worker they talk to.
        fixed["TF_NUM_INTEROP_THREADS"] = str(len(cluster.get("worker", ())) + 1)
    return fixed


def _task_plan(member: Member, addresses: dict[Task, str], share: Share, fixed: dict[str, str]) -> TaskPlan:
    environment = dict(fixed)
    # As many as cores, TensorFlow's own choice: a second thread on one core cost two fifths of the steps.
    if member.role in (Role.TRAIN, Role.EVALUATE):
        environment["TF_NUM_INTEROP_THREADS"] = str(share.threads)
    environment["TF_NUM_INTRAOP_THREADS"] = environment["OMP_NUM_THREADS"] = str(share.threads)
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, share.gpus)) or "-1"
    if share.gpus:
        # Numbered as nvidia-smi and the inventory do; memory is taken as it is needed, not all of it at once.
        environment |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    return TaskPlan(
        task=member.task,
        role=member.role,
        address=addresses.get(member.task, ""),
        cores=share.cores,
        gpus=share.gpus,
        gpu_memory=member.job.gpu_memory if share.gpus else None,
        virtual_devices=member.job.virtual_devices if member.trains else None,
        environment=environment | dict(member.job.env),
    )


def _strategy(tasks: Sequence[TaskPlan], training: Sequence[Member], shares: dict[Task, Share]) -> tuple[str, str, str]:
    """Return strategy, communication and why, as README.md's table of modes has it."""
    if not training:
        workers, ps = (sum(plan.task.job == job for plan in tasks) for job in ("worker", "ps"))
        reason = f"{_count(workers, 'worker')} updating variables on {ps} ps over gRPC, without waiting for each other"
        return "ParameterServerStrategy", "gRPC", reason
    if len(training) > 1:
        communication, why = _communication(training, shares)
        over = " over gRPC" if communication == "RING" else ""
        reason = f"{len(training)} tasks take each step together; {communication}{over}, since {why}"
        return "MultiWorkerMirroredStrategy", communication, reason
    devices = next(plan.devices for plan in tasks if plan.task == training[0].task)
    if devices == 1:
        return "OneDeviceStrategy", "none", "one task trains on one device"
    communication, why = _communication(training, shares)
    return "MirroredStrategy", communication, f"one task trains on its {devices} devices; {communication}, since {why}"


def _communication(training: Sequence[Member], shares: dict[Task, Share]) -> tuple[str, str]:
    """Return what joins the devices that train, and why.

    MirroredStrategy takes the same decision by itself (distribute/mirrored_strategy.py:373).
    """
    if not all(shares[member.task].gpus for member in training):
        return "RING", "they compute on CPUs" if len(training) > 1 else "they are parts of the CPU"
    if any(shares[member.task].shares_gpu for member in training):
        return "RING", "some share a GPU and NCCL allows one of them on each"
    if any((member.job.virtual_devices or 1) > 1 for member in training):
        return "RING", "NCCL does not join parts of a GPU"
    return "NCCL", "each has GPUs of its own" if len(training) > 1 else "each is a whole GPU"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
