"""A launcher for TensorFlow clusters: one file describes the cluster, one command runs it.

Training code imports what it needs from here: ``from launcher import Job, Shard``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["History", "Job", "Metrics", "RunFiles", "Shard", "__version__"]

__version__ = "0.1.0"

_HOMES = {
    "History": "launcher.runtime.job",
    "Job": "launcher.runtime.job",
    "Metrics": "launcher.runtime.job",
    "RunFiles": "launcher.rundir",
    "Shard": "launcher.runtime.job",
}

if TYPE_CHECKING:
    from launcher.rundir import RunFiles
    from launcher.runtime.job import History, Job, Metrics, Shard
else:

    def __getattr__(name: str) -> Any:
        """Import a public name when it is used: a Job needs TensorFlow, and `launcher --help` must not wait for it."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
