"""ClusterSpec: what was asked, the checked content of cluster.yaml, frozen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from launcher.contract.faults import show
from launcher.contract.task import Mode, Task
from launcher.spec.run_spec import Count, Model, RunSpec

WRITTEN_AS = "a number of tasks, a list of addresses, or a mapping"
LOOPBACK = "127.0.0.1"

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_ADDRESS = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
ADDRESS_SCHEMA = {"type": "string", "pattern": rf"^{_HOST}(?::[0-9]{{1,5}})?$", "examples": ["node-a:2222"]}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def split_address(address: str) -> tuple[str, int | None]:
    """Return host and port of ``host:port``, ``host`` or ``[::1]:port``; raises ValueError otherwise."""
    if "@" in address:
        raise ValueError(f"{address!r} names a user; an address is host:port, like node-a:2222")
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(f"{address!r} is not an address; write host:port, like node-a:2222")
    if found["port"] is None:
        return found["host"], None
    port = int(found["port"])
    if not 1 <= port <= 65535:
        raise ValueError(f"{address!r} has port {port}; a port is a number from 1 to 65535")
    return found["host"], port


def is_host(name: str) -> bool:
    """Whether that can be a machine's name, or its address, without a port."""
    return re.fullmatch(_HOST, name) is not None


def _check_address(address: str) -> str:
    split_address(address)
    return address


def _check_gpus(value: object) -> object:
    count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    ids = isinstance(value, list | tuple) and all(type(gpu) is int and gpu >= 0 for gpu in value)
    if not (count or ids or value == "auto"):
        raise ValueError(f"must be a count (0, 2), a list of ids ([0, 1]) or auto, not {show(value)}")
    return value


def check_name(value: str) -> str:
    """Return the name; ValueError if it cannot be that of a run's directory."""
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"{value[:80]!r} cannot name a run's directory; use letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit, at most 63"
        )
    return value


class JobSpec(Model):
    """One job of the cluster: a group of tasks with one role.

    Written as a number of tasks, a list of addresses, or a mapping; ``tasks`` is 1 and ``gpus`` is ``auto`` unless
    written. ``cpus`` is the number of cores that each task gets for itself, ``gpu_memory`` is in MiB. ``min`` workers
    are enough to continue with if others cannot be restarted.
    """

    tasks: Annotated[int, Field(strict=True, ge=0, le=100_000, description="number of tasks", examples=[2])] = 1
    min: Annotated[
        Count | None, Field(description="how few workers are enough to continue if others are lost", examples=[2])
    ] = None
    addresses: Annotated[
        tuple[Annotated[str, AfterValidator(_check_address)], ...],
        Field(description="host:port of each task", examples=[["node-a:2222", "node-b:2222"]]),
    ] = ()
    cpus: Annotated[Count | None, Field(description="cores that each task gets for itself", examples=[4])] = None
    gpus: Annotated[
        Annotated[int, Field(ge=0)] | tuple[Annotated[int, Field(ge=0)], ...] | Literal["auto"],
        BeforeValidator(_check_gpus),
        Field(description="GPUs of each task: a count, a list of ids, or an even share", examples=[1, [0, 1], "auto"]),
    ] = "auto"
    gpu_memory: Annotated[
        Count | None, Field(description="MiB that each task may use of each of its GPUs", examples=[4096])
    ] = None
    virtual_devices: Annotated[
        Count | None, Field(description="logical devices that each device is split into", examples=[2])
    ] = None
    port: Annotated[
        Annotated[int, Field(strict=True, ge=1, le=65535)] | None,
        Field(description="port of the first task; the others count up from it", examples=[2222]),
    ] = None
    env: Annotated[
        Mapping[str, str], Field(description="environment variables of the tasks", examples=[{"OMP_NUM_THREADS": 4}])
    ] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _count_addresses(cls, data: object) -> object:
        if not isinstance(data, Mapping | JobSpec):
            raise ValueError(f"must be {WRITTEN_AS}, not {show(data)}")  # noqa: TRY004  # pydantic's way to refuse
        if isinstance(data, Mapping) and isinstance(data.get("addresses"), list | tuple) and data.get("tasks") is None:
            return {**data, "tasks": len(data["addresses"])}
        return data

    @field_validator("env", mode="before")
    @classmethod
    def _strings(cls, env: object) -> object:
        if not isinstance(env, Mapping):
            return env
        for name in env:
            if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} is not a name of an environment variable")
        # Numbers are as good as strings here, and everyone writes them: OMP_NUM_THREADS: 4.
        return {name: str(value) if type(value) in (int, float) else value for name, value in env.items()}

    def endpoints(self) -> tuple[tuple[str, int | None], ...]:
        """Return host and port of each task as far as the file fixes them; port None: one is chosen at start.

        Without addresses the host is this machine and ``port`` counts up per task; an address without a port takes
        ``port``, counting up per task of the same host.
        """
        if not self.addresses:
            return tuple((LOOPBACK, None if self.port is None else self.port + i) for i in range(self.tasks))
        seen: Counter[str] = Counter()
        found: list[tuple[str, int | None]] = []
        for address in self.addresses:
            host, port = split_address(address)
            if port is None and self.port is not None:
                port = self.port + seen[host]
                seen[host] += 1
            found.append((host, port))
        return tuple(found)


class Cluster(Model):
    """TensorFlow's cluster: the jobs, in the order in which their tasks are started and shown."""

    chief: Annotated[JobSpec | None, Field(description="coordinates asynchronous training", examples=[1])] = None
    worker: Annotated[
        JobSpec | None,
        Field(description="trains", examples=[2, ["node-a:2222", "node-b:2222"], {"tasks": 2, "cpus": 1}]),
    ] = None
    ps: Annotated[JobSpec | None, Field(description="keeps the variables in async mode", examples=[1])] = None
    evaluator: Annotated[JobSpec | None, Field(description="scores checkpoints beside the cluster", examples=[1])] = (
        None
    )

    def items(self) -> Iterator[tuple[str, JobSpec]]:
        """Yield the name and the spec of each job that was written."""
        for name in type(self).model_fields:
            spec = getattr(self, name)
            if spec is not None:
                yield name, spec

    @property
    def size(self) -> int:
        """How many tasks were asked for."""
        return sum(job.tasks for _, job in self.items())

    def tasks(self) -> Iterator[tuple[Task, JobSpec]]:
        """Yield every task that was asked for."""
        for name, spec in self.items():
            for index in range(spec.tasks):
                yield Task(name, index), spec


class ClusterSpec(Model):
    """What was asked: the checked content of a cluster file."""

    name: Annotated[
        str,
        AfterValidator(check_name),
        WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"}),
        Field(description="the first part of the runs' names", examples=["linear-regression"]),
    ] = "cluster"
    mode: Annotated[
        Mode,
        Field(description="MultiWorkerMirroredStrategy (sync) or ParameterServerStrategy (async)", examples=["sync"]),
    ] = "sync"
    job: Annotated[
        str,
        StringConstraints(min_length=1),
        Field(
            description="name the training code: a module of jobs/, any dotted module, or path/to/train.py",
            examples=["linear_regression", "train.py"],
        ),
    ]
    args: Annotated[Mapping[str, Any], Field(description="the job's own settings", examples=[{"epochs": 100}])] = Field(
        default_factory=dict
    )
    cluster: Annotated[
        Cluster, Field(description="name its jobs and their tasks, like {worker: 2}", examples=[{"worker": 2, "ps": 1}])
    ]
    run: Annotated[RunSpec, Field(description="how the job is run", examples=[{"restarts": 3}])] = RunSpec()
