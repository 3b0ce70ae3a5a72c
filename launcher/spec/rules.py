"""The rules of a cluster file that go beyond the form of each value."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.contract.faults import Fault, KeyPath, dotted
from launcher.contract.roles import ROLES
from launcher.spec.model import LOOPBACK, ClusterSpec, JobSpec, split_address
from launcher.text import counted

_OURS = {
    "TF_CONFIG": "the launcher writes it for each task",
    "LAUNCHER_TASK": "the launcher writes it for each task",
    "CUDA_VISIBLE_DEVICES": "set gpus instead",
    "CUDA_DEVICE_ORDER": "GPUs are numbered as nvidia-smi numbers them",
}
# MultiWorkerMirroredStrategy and ParameterServerStrategy count GPUs; of the CPU each task gets one device, whatever
# was configured (collective_all_reduce_strategy.py, parameter_server_strategy_v2.py).
ONE_CPU_DEVICE = "without GPUs, several training tasks compute on one CPU device each; leave virtual_devices out"
PARTS_NEED_MEMORY = (
    "virtual devices of a GPU need gpu_memory, the MiB of each; or write gpus: 0 to split the CPU instead"
)
# Replaces an address that is not well-formed, so that the others can still be checked.
UNKNOWN = "unknown.invalid"


def is_loopback(host: str) -> bool:
    """Whether that name means a different machine on every machine."""
    return host.lower() == "localhost" or host.startswith("127.") or host == "[::1]"


def machine(host: str) -> str:
    """Return one name for each machine, in lower case."""
    return LOOPBACK if is_loopback(host) else host.lower()


def training_jobs(spec: ClusterSpec) -> list[tuple[str, JobSpec]]:
    """Return the jobs whose tasks compute gradients: chief and worker, in async worker alone."""
    roles = ROLES[spec.mode]
    names = [name for name, role in roles.items() if role.computes_gradients]
    return [(name, job) for name, job in spec.cluster.items() if name in names and job.tasks]


def broken_rules(spec: ClusterSpec) -> Iterator[Fault]:
    """Yield every rule that the file breaks, each at its key."""
    for name, job in spec.cluster.items():
        path: KeyPath = ("cluster", name)
        yield from _counts(path, name, job)
        yield from _ports(path, job)
        yield from _gpus(path, name, job)
        yield from (Fault((*path, "env", key), f"leave it out: {_OURS[key]}") for key in job.env if key in _OURS)
    yield from _duplicates(spec)
    yield from _machines(spec)
    yield from _membership(spec)
    yield from _virtual(spec)


def _counts(path: KeyPath, name: str, job: JobSpec) -> Iterator[Fault]:
    if job.addresses and job.tasks != len(job.addresses):
        yield Fault((*path, "tasks"), f"is {job.tasks}, but addresses lists {len(job.addresses)}; leave tasks out")
    if name in ("chief", "evaluator") and job.tasks > 1:
        yield Fault((*path, "addresses" if job.addresses else "tasks"), f"a cluster has at most one {name}")
    if job.min is not None and name != "worker":
        yield Fault((*path, "min"), "only workers may be missing from a run; leave min out")
    elif job.min is not None and job.min > job.tasks:
        yield Fault(
            (*path, "min"), f"is {job.min}, but {name} has {counted(job.tasks, 'task')}; min is how few are enough"
        )


def _ports(path: KeyPath, job: JobSpec) -> Iterator[Fault]:
    for index, (address, (_, port)) in enumerate(zip(job.addresses, job.endpoints(), strict=False)):
        if port is None:
            yield Fault((*path, "addresses", index), f"{address!r} has no port; write {address}:2222, or set port")
    highest = max((port for _, port in job.endpoints() if port is not None), default=0)
    # Behind the highest written port come that of a chief which is not written, and the rendezvous.
    if highest > 65533:
        where = (*path, "port") if job.port is not None else (*path, "addresses")
        yield Fault(where, f"tasks need ports up to {highest}, and the launcher the next two; ports end at 65535")


def _gpus(path: KeyPath, name: str, job: JobSpec) -> Iterator[Fault]:
    if isinstance(job.gpus, tuple):
        twice = sorted({gpu for gpu in job.gpus if job.gpus.count(gpu) > 1})
        if twice:
            yield Fault((*path, "gpus"), f"GPU {twice[0]} is listed twice")
    asked = job.gpus not in (0, (), "auto")
    if name in ("ps", "evaluator"):
        given = {"gpus": asked, "gpu_memory": job.gpu_memory, "virtual_devices": job.virtual_devices}
        who = f"{'an' if name == 'evaluator' else 'a'} {name} computes on the CPU"
        yield from (Fault((*path, key), f"{who}; leave {key} out") for key, value in given.items() if value)
    elif asked and (job.virtual_devices or 1) > 1 and job.gpu_memory is None:
        yield Fault((*path, "virtual_devices"), PARTS_NEED_MEMORY)


def _duplicates(spec: ClusterSpec) -> Iterator[Fault]:
    seen: dict[tuple[str, int], KeyPath] = {}
    for name, job in spec.cluster.items():
        for index, (host, port) in enumerate(job.endpoints()):
            if port is None:
                continue
            path: KeyPath = ("cluster", name, "addresses", index) if job.addresses else ("cluster", name, "port")
            first = seen.setdefault((machine(host), port), path)
            if first != path:
                message = f"{host}:{port} is already the address of {dotted(first)}; every task needs its own"
                yield Fault(path, message, (first,))


def _machines(spec: ClusterSpec) -> Iterator[Fault]:
    written = [
        (("cluster", name, "addresses", index), split_address(address)[0])
        for name, job in spec.cluster.items()
        for index, address in enumerate(job.addresses)
        if not address.startswith(UNKNOWN)
    ]
    named = next((host for _, host in written if not is_loopback(host)), None)
    if named is None:
        return
    for path, host in written:
        if is_loopback(host):
            yield Fault(
                path, f"{host} is a different machine on every machine; beside {named}, write this machine's name"
            )
    for name, job in spec.cluster.items():
        if job.tasks and not job.addresses:
            message = f"has no addresses, but other tasks run on {named}; write where its tasks run"
            yield Fault(("cluster", name), message)


def _membership(spec: ClusterSpec) -> Iterator[Fault]:
    tasks = {name: job.tasks for name, job in spec.cluster.items()}
    mode: tuple[KeyPath, ...] = (("mode",),)
    if spec.mode == "sync" and not tasks.get("worker") and not tasks.get("chief"):
        yield Fault(("cluster",), "sync mode needs at least one task that trains; write worker: 2", mode)
    for name, purpose in {"worker": "computes gradients", "ps": "keeps the variables"}.items():
        if spec.mode == "async" and not tasks.get(name):
            yield Fault(("cluster",), f"async mode needs at least one {name}, which {purpose}; write {name}: 1", mode)


def _virtual(spec: ClusterSpec) -> Iterator[Fault]:
    training = training_jobs(spec)
    if spec.mode == "sync" and sum(job.tasks for _, job in training) < 2:
        return
    for name, job in training:
        if (job.virtual_devices or 1) > 1 and job.gpus in (0, ()):
            yield Fault(("cluster", name, "virtual_devices"), ONE_CPU_DEVICE, (("mode",),))
