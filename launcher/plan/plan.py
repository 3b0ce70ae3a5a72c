"""Plan: what goes where, computed once; every consumer (a table, processes, compose.yaml) takes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter

from launcher import __version__
from launcher.contract.context import TaskContext
from launcher.contract.environment import TASK_KEY
from launcher.contract.roles import Quorum, Role
from launcher.contract.task import Task
from launcher.errors import UsageError
from launcher.spec.model import ClusterSpec


@dataclass(frozen=True)
class TaskPlan:
    """One task that will start: its role, its address and its devices. No cores: it is not pinned."""

    task: Task
    role: Role
    address: str  # host:port; empty if no other task connects to it: an evaluator, or the only task
    cores: tuple[int, ...] = ()
    gpus: tuple[int, ...] = ()
    gpu_memory: int | None = None
    virtual_devices: int | None = None
    environment: Mapping[str, str] | None = None  # what TensorFlow reads, without TF_CONFIG

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TaskPlan:
        """Read one task of a plan that was JSON; KeyError, TypeError or ValueError if it is none."""
        read = {**values, "task": Task.parse(values["task"]), "role": Role(values["role"])}
        return TypeAdapter(cls).validate_python(read)

    @property
    def host(self) -> str:
        """The machine that the task runs on, as its address names it."""
        return self.address.rpartition(":")[0]

    @property
    def trains(self) -> bool:
        """Whether it computes gradients."""
        return self.role.computes_gradients

    @property
    def devices(self) -> int:
        """How many logical devices the task computes on."""
        return (len(self.gpus) or 1) * (self.virtual_devices or 1)


@dataclass(frozen=True)
class Idle:
    """A task that was asked for and will not start, with the reason."""

    task: Task
    reason: str


@dataclass(frozen=True)
class Plan:
    """What goes where. ``directory`` is where relative paths of the cluster file start."""

    spec: ClusterSpec
    directory: str
    strategy: str  # the class name in tf.distribute
    communication: str  # RING or NCCL between replicas; gRPC to a ps; none
    reason: str  # why this strategy and this communication
    tasks: tuple[TaskPlan, ...]
    idle: tuple[Idle, ...]
    cluster: Mapping[str, tuple[str, ...]]  # TensorFlow's cluster: job → addresses; empty for one process
    leader: Task
    rendezvous: str  # host:port that the leader holds; empty if there is only one task

    @property
    def world_size(self) -> int:
        """How many replicas train: every device of every training task (async: of every worker)."""
        return sum(plan.devices for plan in self.tasks if plan.trains)

    @property
    def fewest_workers(self) -> int:
        """How few workers are enough to continue; 0: all are needed."""
        worker = self.spec.cluster.worker
        return worker.min or 0 if worker and worker.min != worker.tasks else 0

    @property
    def quorum(self) -> Quorum:
        """Who may be missing for good."""
        return Quorum.of([task.task for task in self.tasks], self.fewest_workers, self.leader)

    def find(self, task: Task) -> TaskPlan | None:
        """Return the plan of that task, or None if it does not start."""
        return self._by_task.get(task)

    @cached_property
    def _by_task(self) -> dict[Task, TaskPlan]:
        return {plan.task: plan for plan in self.tasks}

    def context(self, plan: TaskPlan) -> TaskContext:
        """Return what this task is told; the run fills in its directory, attempt, token and pipe."""
        alone = not plan.role.joins_cluster
        return TaskContext(
            task=plan.task,
            role=plan.role,
            mode=self.spec.mode,
            strategy="OneDeviceStrategy" if alone else self.strategy,
            communication=self.communication,
            cluster={} if alone else self.cluster,
            leader=self.leader,
            rendezvous="" if alone else self.rendezvous,
            job=self.spec.job,
            args=self.spec.args,
            directory=self.directory,
            cores=plan.cores,
            gpus=plan.gpus,
            gpu_memory=plan.gpu_memory,
            virtual_devices=plan.virtual_devices,
            start_timeout=self.spec.run.start_timeout,
            checkpoint=self.spec.run.checkpoint.policy,
            fewest_workers=self.fewest_workers,
            nan=self.spec.run.nan,
        )

    def environment(self, plan: TaskPlan, context: TaskContext | None = None) -> dict[str, str]:
        """Return every variable that the launcher sets for this task, TF_CONFIG and LAUNCHER_TASK included."""
        context = context or self.context(plan)
        variables = dict(plan.environment or {})
        if context.cluster:
            variables["TF_CONFIG"] = context.tf_config
        return variables | {TASK_KEY: context.to_json()}

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plan.json and ``plan --json`` have it; ``from_dict`` reads it back equal."""
        return {
            "name": self.spec.name,
            "mode": self.spec.mode,
            "job": self.spec.job,
            "strategy": self.strategy,
            "communication": self.communication,
            "reason": self.reason,
            "world_size": self.world_size,
            "directory": self.directory,
            "leader": str(self.leader),
            "rendezvous": self.rendezvous,
            "tasks": [vars(plan) | {"task": str(plan.task)} for plan in self.tasks],
            "idle": [{"task": str(idle.task), "reason": idle.reason} for idle in self.idle],
            "cluster": {job: list(addresses) for job, addresses in self.cluster.items()},
            "spec": self.spec.model_dump(exclude_none=True),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Read what ``to_dict`` returned, also after it was JSON; UsageError if it is no plan of this launcher."""
        try:
            return TypeAdapter(cls).validate_python(
                {
                    **values,
                    "spec": ClusterSpec.model_validate(values["spec"]),
                    "tasks": tuple(TaskPlan.from_dict(task) for task in values["tasks"]),
                    "idle": tuple(Idle(Task.parse(idle["task"]), idle["reason"]) for idle in values["idle"]),
                    "leader": Task.parse(values["leader"]),
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # pydantic's errors are ValueErrors
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error).partition("\n")[0]
            raise UsageError(f"this is not a plan of launcher {__version__}: {what}; start a new run") from None
