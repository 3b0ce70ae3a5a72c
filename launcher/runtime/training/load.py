"""Loading the job that a cluster file names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from numbers import Integral
from pathlib import Path
from types import ModuleType

from launcher.contract.args import job_module, read_args
from launcher.contract.context import TaskContext
from launcher.errors import UsageError
from launcher.runtime.job import Job

_COUNTS = ("steps", "steps_per_epoch", "steps_per_call", "report_every")  # that a job's build() may set


def load_job(context: TaskContext) -> Job:
    """Import the job that the cluster file names and make it from its ``args``; UsageError if that is impossible."""
    module = _import(job_module(context.job), context)
    job_class = _job_class(module, context.job)
    return job_class(read_args(job_class.Config, context.args), context)


def build(job: Job) -> None:
    """Have the job create what it trains; UsageError if it does not say how many steps, or in what is no number."""
    job.build()
    name = type(job).__name__
    if getattr(job, "steps", None) is None:
        raise UsageError(
            f"job: {name} sets no steps, so there is nothing to train: set self.steps in build() to the steps of the "
            "whole training (0: evaluate only)"
        )
    for key in _COUNTS:
        value = getattr(job, key)
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
            raise UsageError(f"job: {name} sets {key} to {value!r}: it must be a whole number of at least 0")
        if not isinstance(value, int):  # numpy's, which JSON does not know
            setattr(job, key, int(value))


def _import(name: str, context: TaskContext) -> ModuleType:
    if name.endswith(".py"):
        return _import_script(Path(context.directory, name))
    if not _exists(name):
        raise UsageError(f"job: there is no module {name!r}")
    module = importlib.import_module(name)
    # A job that is a package keeps its Job class in `job`, beside a `config` that needs no TensorFlow.
    if hasattr(module, "__path__") and importlib.util.find_spec(f"{name}.job"):
        module = importlib.import_module(f"{name}.job")
    return module


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):  # it, or a package that contains it
            return False
        raise


def _import_script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"job: there is no script {path}")
    sys.path.insert(0, str(path.parent))
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _job_class(module: ModuleType, job: str) -> type[Job]:
    own = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Job) and value.__module__ == module.__name__
    ]
    if len(own) == 1:
        return own[0]
    found = "no subclass of Job" if not own else " and ".join(value.__name__ for value in own)
    raise UsageError(f"job: {job} defines {found}; a job's module defines exactly one subclass of launcher.Job")
