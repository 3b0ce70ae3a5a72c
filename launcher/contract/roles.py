"""The table of roles: what a task does, which follows from its job and the mode, and what its loss means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from launcher.contract.task import Mode, Task


class Role(StrEnum):
    """What a task does: each row of the table below is a role, and its columns decide how the launcher treats it.

    ``computes_gradients``: its devices are replicas, so it gets GPUs. ``serves``: it runs TensorFlow's server, and none
    of the user's code. ``steps``: it makes training steps and reports them. ``joins_cluster``: it is in TF_CONFIG and
    comes to the rendezvous. ``may_be_missing``: the others can continue if it is lost for good (a worker in sync mode:
    only down to cluster.worker.min, which ``Quorum`` decides). ``restarts_alone``: the others continue while it
    restarts; after the loss of any other task all restart together. ``ends_run``: it may be the leader, whose end is
    the end of the run.
    """

    computes_gradients: bool
    serves: bool
    steps: bool
    joins_cluster: bool
    may_be_missing: bool
    restarts_alone: bool
    ends_run: bool

    # fmt: off
    #                          computes           joins    may be   restarts
    #            name          gradients  serves  steps    cluster  missing  alone  ends run
    TRAIN =      "train",      True,      False,  True,    True,    False,   False,   True
    COORDINATE = "coordinate", False,     False,  True,    True,    False,   False,   True
    COMPUTE =    "compute",    True,      True,   False,   True,    True,    True,    False
    SERVE =      "serve",      False,     True,   False,   True,    False,   False,   False
    EVALUATE =   "evaluate",   False,     False,  False,   False,   True,    True,    False
    # fmt: on

    def __new__(cls, name: str, *traits: bool) -> Self:
        """Make one row."""
        role = str.__new__(cls, name)
        role._value_ = name
        (
            role.computes_gradients,
            role.serves,
            role.steps,
            role.joins_cluster,
            role.may_be_missing,
            role.restarts_alone,
            role.ends_run,
        ) = traits
        return role


# A job without a role in a mode starts no task. The order decides who leads.
ROLES: Mapping[Mode, Mapping[str, Role]] = {
    "sync": {"chief": Role.TRAIN, "worker": Role.TRAIN, "evaluator": Role.EVALUATE},
    "async": {"chief": Role.COORDINATE, "worker": Role.COMPUTE, "ps": Role.SERVE, "evaluator": Role.EVALUATE},
}


@dataclass(frozen=True)
class Quorum:
    """How few workers are enough: the one place that decides who may be missing for good.

    The leader never may: it has the rendezvous and the checkpoints. ``fewest`` is cluster.worker.min; 0: every worker
    is needed.
    """

    workers: frozenset[Task] = frozenset()
    fewest: int = 0
    leader: Task | None = None

    @classmethod
    def of(cls, tasks: Collection[Task], fewest: int, leader: Task) -> Quorum:
        """Return the quorum of a cluster of these tasks."""
        return cls(frozenset(task for task in tasks if task.job == "worker"), fewest, leader)

    def holds_without(self, missing: Collection[Task]) -> bool:
        """Whether the others are enough to continue without these."""
        lost = set(missing)
        return 0 < self.fewest <= len(self.workers) - len(lost) and self.leader not in lost and lost <= self.workers
