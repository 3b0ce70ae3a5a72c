"""ClusterSpec: what was asked, the checked content of cluster.yaml, frozen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from launcher.contract.context import CheckpointPolicy
from launcher.contract.faults import show
from launcher.contract.task import Mode, Task

WRITTEN_AS = "a number of tasks, a list of addresses, or a mapping"
LOOPBACK = "127.0.0.1"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_YEAR = 365 * 24 * 3600.0
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h)")
_STEPS = re.compile(r"([0-9]{1,18})\s*steps?")
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_ADDRESS = re.compile(rf"(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# As JSON Schema has them, for editors: what is nothing (0s, 0 steps) is refused as well.
_SOME = r"(?!0+(?:\.0+)?\s*[a-z])"
_DURATION_SCHEMA = {"type": "string", "pattern": rf"^{_SOME}{_DURATION.pattern}$"}
_EVERY_SCHEMA = {"type": "string", "pattern": rf"^{_SOME}(?:{_DURATION.pattern}|{_STEPS.pattern})$"}
ADDRESS_SCHEMA = {"type": "string", "pattern": rf"^{_HOST}(?::[0-9]{{1,5}})?$", "examples": ["node-a:2222"]}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_duration(value: object) -> float:
    """Return the seconds of ``30s``, ``5m``, ``500ms`` or ``2h``; raises ValueError for anything else."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        unit = f"; write {value}s" if type(value) in (int, float) else ""
        raise ValueError(f"must be a number with a unit (ms, s, m, h), like 30s or 5m, not {show(value)}{unit}")
    return float(found[1]) * _UNITS[found[2]]


def _positive_duration(value: object) -> float:
    if isinstance(value, float) and value > 0:
        return value  # already parsed: a ClusterSpec that was dumped and is read again
    seconds = parse_duration(value)
    if seconds <= 0:
        raise ValueError("must be longer than 0s")
    if seconds > _YEAR:
        raise ValueError("must be at most a year, 8760h")  # what waits and selects cannot wait for ever
    return seconds


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


Duration = Annotated[
    float,
    BeforeValidator(_positive_duration),
    WithJsonSchema(_DURATION_SCHEMA),
]
Count = Annotated[int, Field(strict=True, ge=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Checkpoint(_Model):
    """When a checkpoint is written, and how many are kept."""

    every: Annotated[
        str,
        WithJsonSchema(_EVERY_SCHEMA),
        Field(description="a duration or a number of steps", examples=["30s", "500 steps"]),
    ] = "30s"
    keep: Annotated[Count, Field(description="how many of the newest are kept", examples=[3])] = 3

    @field_validator("every", mode="before")
    @classmethod
    def _known_interval(cls, value: object) -> object:
        if isinstance(value, str) and (steps := _STEPS.fullmatch(value)):
            if int(steps[1]) < 1:
                raise ValueError("must be at least 1 step")
            return value
        try:
            _positive_duration(value)
        except ValueError:
            found = show(value)
            raise ValueError(f"must be a duration like 30s or 5m, or steps like 500 steps, not {found}") from None
        return value

    @property
    def policy(self) -> CheckpointPolicy:
        """The same, as the task's context has it."""
        if steps := _STEPS.fullmatch(self.every):
            return CheckpointPolicy(every_seconds=None, every_steps=int(steps[1]), keep=self.keep)
        return CheckpointPolicy(every_seconds=parse_duration(self.every), every_steps=None, keep=self.keep)


class RunSpec(_Model):
    """How the job is run: output, checkpoints, restarts, timeouts, network."""

    on: Annotated[
        str, StringConstraints(min_length=1), Field(description="the engine that starts the tasks", examples=["local"])
    ] = "local"
    output: Annotated[
        str,
        StringConstraints(min_length=1),
        Field(description="where run directories are created", examples=["runs"]),
    ] = "runs"
    checkpoint: Annotated[
        Checkpoint, Field(description="when checkpoints are written", examples=[{"every": "500 steps", "keep": 3}])
    ] = Checkpoint()
    restarts: Annotated[
        int, Field(strict=True, ge=0, description="restarts allowed before the run fails", examples=[3])
    ] = 3
    start_timeout: Annotated[Duration, Field(description="how long the cluster may take to form", examples=["60s"])] = (
        60.0
    )
    stall_timeout: Annotated[Duration, Field(description="no step for this long is a failure", examples=["5m"])] = 300.0
    network: Annotated[
        Literal["private", "host"],
        Field(description="a network namespace of the run's own, or the host's network", examples=["private"]),
    ] = "private"


class JobSpec(_Model):
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


class Cluster(_Model):
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


class ClusterSpec(_Model):
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
