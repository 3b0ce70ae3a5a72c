"""TaskContext: everything that the launcher passes to a task that it starts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from launcher.contract.environment import TASK_KEY
from launcher.contract.roles import Role
from launcher.contract.task import Mode, Task

_LONGEST = 64 << 10  # characters of LAUNCHER_TASK


@dataclass(frozen=True)
class CheckpointPolicy:
    """When checkpoints are written (every N seconds or every N steps, not both) and how many are kept."""

    every_seconds: float | None = 30.0
    every_steps: int | None = None
    keep: int = 3


@dataclass(frozen=True)
class TaskContext:
    """What one task knows of its run.

    ``cluster`` maps each TensorFlow job to its addresses; it is empty if this task joins none. ``leader`` is
    the task that holds the rendezvous at ``rendezvous`` (host:port; empty if there is none). Relative paths of the
    cluster file start at ``directory``; the run's files are in ``run_directory``.
    """

    task: Task
    role: Role
    mode: Mode
    strategy: str
    communication: str  # RING, NCCL, gRPC or none; MultiWorkerMirroredStrategy is configured to use it
    cluster: Mapping[str, tuple[str, ...]]
    leader: Task
    rendezvous: str
    job: str
    args: Mapping[str, Any]
    directory: str
    cores: tuple[int, ...]  # empty: not pinned
    gpus: tuple[int, ...]
    gpu_memory: int | None  # MiB per logical GPU
    virtual_devices: int | None
    start_timeout: float  # seconds
    checkpoint: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    run_directory: str = ""
    launched: float = 0.0  # when this task's launcher began, in seconds since the epoch
    ran_before: float = 0.0  # seconds that earlier launchers of this run took
    attempt: int = 1
    token: str = ""
    reports: str = ""  # the named pipe for the task's reports (contract/reports.py); empty: nobody reads any
    fewest_workers: int = 0  # how many are enough to continue; 0: all are needed
    save_within: float = 17.0  # seconds from a SIGTERM until this task is killed
    nan: str = "stop"  # what follows from a figure that is NaN or infinite: stop, or ignore
    left_out: tuple[Task, ...] = ()  # lost workers, which the others continue without

    @property
    def is_leader(self) -> bool:
        """Whether this task is the leader, which prints progress, writes checkpoints and makes the report."""
        return self.task == self.leader

    @property
    def members(self) -> tuple[Task, ...]:
        """Every task that must be at the rendezvous before TensorFlow starts."""
        everyone = (Task(job, i) for job, addresses in self.cluster.items() for i in range(len(addresses)))
        return tuple(task for task in everyone if task not in self.left_out)

    @property
    def tensorflow_cluster(self) -> dict[str, list[str]]:
        """TensorFlow's cluster: the members' addresses by job, without gaps for tasks that are left out."""
        found: dict[str, list[str]] = {}
        for task in self.members:
            found.setdefault(task.job, []).append(self.cluster[task.job][task.index])
        return found

    @property
    def tensorflow_index(self) -> int:
        """This task's number in TensorFlow's cluster."""
        return [task for task in self.members if task.job == self.task.job].index(self.task)

    @property
    def tf_config(self) -> str:
        """The value of TF_CONFIG for this task."""
        task = {"type": self.task.job, "index": self.tensorflow_index}
        return json.dumps({"cluster": self.tensorflow_cluster, "task": task})

    def carried(self, file: Path) -> str:
        """Return what LAUNCHER_TASK carries: the text of ``to_json``, or this file's path, written then, if it is long.

        The kernel takes no variable of more than 128 KiB (MAX_ARG_STRLEN), nor do programs that a job starts get one.
        """
        text = self.to_json()
        if len(text) <= _LONGEST:
            return text
        file.touch(mode=0o600)  # the key is in it
        file.write_text(text, encoding="utf-8")
        return str(file)

    def to_json(self) -> str:
        """Return all of it as text, without line breaks."""
        names = {"task": str(self.task), "leader": str(self.leader), "left_out": list(map(str, self.left_out))}
        return json.dumps(asdict(self) | names)

    @classmethod
    def from_json(cls, text: str) -> TaskContext:
        """Read what ``to_json`` wrote; raises ValueError or TypeError for anything else."""
        values: dict[str, Any] = json.loads(text)
        values["role"] = Role(values["role"])
        values["task"], values["leader"] = Task.parse(values["task"]), Task.parse(values["leader"])
        values["cluster"] = {job: tuple(addresses) for job, addresses in values["cluster"].items()}
        values["cores"], values["gpus"] = tuple(values["cores"]), tuple(values["gpus"])
        values["left_out"] = tuple(map(Task.parse, values["left_out"]))
        values["checkpoint"] = CheckpointPolicy(**values["checkpoint"])
        return cls(**values)

    @classmethod
    def from_environment(cls) -> TaskContext:
        """Read LAUNCHER_TASK; raises KeyError if this process was not started by the launcher."""
        carried = os.environ[TASK_KEY]
        return cls.from_json(carried if carried.startswith("{") else Path(carried).read_text(encoding="utf-8"))
