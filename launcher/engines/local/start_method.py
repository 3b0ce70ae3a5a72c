"""Which tasks are forked from one process that has imported TensorFlow, and which are started as new ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from launcher.contract.task import Task

# Read at the import of TensorFlow, Keras or numpy, or when a process starts: what differs cannot be changed later.
_AT_IMPORT = re.compile(
    r"KERAS_BACKEND|KERAS_HOME|TF_USE_LEGACY_KERAS|TF_CPP_.*|TF_ENABLE_ONEDNN_OPTS|TF_XLA_FLAGS|XLA_FLAGS"
    r"|OMP_.*|OPENBLAS_.*|MKL_.*|MALLOC_.*|LD_.*|PYTHON.*|LANG|LC_.*|TZ|HOME|PATH"
)


def forked(environments: Mapping[Task, Mapping[str, str]]) -> frozenset[Task]:
    """Return the tasks that can be forked from one process: the most whose variables agree as far as imports read them.

    ``environments`` has what the launcher sets for each task.
    """
    read = {task: at_import(environment) for task, environment in environments.items()}
    most = Counter(read.values()).most_common(1)
    return frozenset(task for task, variables in read.items() if [variables] == [found for found, _ in most])


def at_import(environment: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Return those of the variables that an import, or the start of a process, reads."""
    return frozenset((name, value) for name, value in environment.items() if _AT_IMPORT.fullmatch(name))
