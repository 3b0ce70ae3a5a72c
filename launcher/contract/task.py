"""Task: one process of the cluster, by TensorFlow's name for it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from launcher.text import whole_number

Mode = Literal["sync", "async"]
JOBS = ("chief", "worker", "ps", "evaluator")  # of a cluster, in the order of their tasks


class Task(NamedTuple):
    """One process of the cluster, TensorFlow's (job, index), written ``worker:1``."""

    job: str
    index: int  # type: ignore[assignment]  # TensorFlow's word, and tuple.index is never called

    def __str__(self) -> str:
        return f"{self.job}:{self.index}"

    @property
    def slug(self) -> str:
        """The name as files and services carry it: ``worker-1``."""
        return f"{self.job}-{self.index}"

    @classmethod
    def parse(cls, text: str) -> Task:
        """Read ``worker:1``; raises ValueError for anything else."""
        job, separator, index = text.partition(":")
        number = whole_number(index)
        if not separator or not job.isidentifier() or number is None:
            raise ValueError(f"{text!r} is not a task; a task is written job:index, like worker:1")
        return cls(job, number)
