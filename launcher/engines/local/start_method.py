"""Which tasks are forked from one process that has imported TensorFlow, and which are started as new ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from launcher.contract.task import Task

# Read when a process starts, or at the import of TensorFlow, Keras or what these import: what differs cannot be changed
# later. Of TF_, which variables are read when is another question with each release; those that a plan gives to each
# task are read when TensorFlow starts its threads or opens a GPU.
_AT_IMPORT = re.compile(
    r"TF_(?!CONFIG|NUM_|FORCE_GPU_ALLOW_GROWTH).*|TF2_.*|KERAS_.*|XLA_.*|HDF5_.*|GCS_.*|NPY_.*|NUMPY_.*|PANDAS_.*"
    r"|OMP_.*|OPENBLAS_.*|GOTO_.*|MKL_.*|KMP_.*|MALLOC_.*|GLIBC_.*|LD_.*|PYTHON.*|LANG|LC_.*|TZ|HOME|PATH"
    r"|XDG_(CACHE|CONFIG|DATA)_HOME|MPL.*|MATPLOTLIBRC|ABSL_.*|PROTOCOL_BUFFERS_.*|OPENSSL_.*"
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
