"""The place of a job's code, found without importing it: a script, or a module on the path of every task."""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import launcher
from launcher.contract.args import job_module
from launcher.errors import did_you_mean

ROOT = Path(launcher.__file__).parent.parent  # the bundled jobs/ are beside launcher/


def search_path(directory: Path) -> list[str]:
    """Return where a task looks for modules: beside the cluster file first, then beside the launcher."""
    return [str(directory), str(ROOT), *(entry for entry in sys.path if entry)]


@contextmanager
def importing_from(directory: Path) -> Iterator[None]:
    """Let imports find what a task would; afterwards the launcher's own imports are as before."""
    before = list(sys.path)
    sys.path[:] = search_path(directory)
    try:
        yield
    finally:
        sys.path[:] = before


def config_module(job: str, directory: Path) -> str | None:
    """Find the job and return its ``config`` submodule, if it has one; ValueError says why there is no such job."""
    module = job_module(job)
    if job.endswith(".py"):
        _check_script(directory / job, job, directory)
        return None
    if not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(
            f"{job!r} is neither the name of a module nor the path of a .py file{_nearest(job, directory)}"
        )
    spec = _find(module, job, directory)
    for file in _files(spec):
        _compile(file)
    inside = spec.submodule_search_locations
    return f"{module}.config" if inside is not None and PathFinder.find_spec("config", list(inside)) else None


def source_files(job: str, directory: Path) -> list[Path]:
    """Return the files of the job's own code, as far as they are Python; ValueError says why there is no such job."""
    return [directory / job] if job.endswith(".py") else _files(_find(job_module(job), job, directory))


def _files(spec: ModuleSpec) -> list[Path]:
    """Return the file of a module; of a package those that the launcher or a task imports by name."""
    inside = spec.submodule_search_locations
    if inside is None:
        return [Path(spec.origin or "")]
    # A package keeps its Job class in `job`; what does not compile there would only fail once tasks run.
    found = (PathFinder.find_spec(name, list(inside)) for name in ("__init__", "config", "job"))
    return [Path(module.origin) for module in found if module and module.origin]


def _check_script(path: Path, job: str, directory: Path) -> None:
    try:
        if not path.exists():
            raise ValueError(f"there is no script {job!r} in {directory}{_nearest(job, directory)}")
        if not path.is_file():
            raise ValueError(f"{job!r} is not a file")
    except OSError as error:  # such as a name that is too long
        raise ValueError(f"{job!r} cannot be looked for: {error.strerror}") from None
    _compile(path)


def _compile(path: Path) -> None:
    if path.suffix != ".py":
        return
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except SyntaxError as error:
        raise ValueError(f"{path}:{error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path} is not Python: {error}") from None


def _find(module: str, job: str, directory: Path) -> ModuleSpec:
    """Find the module step by step, so that no package on the way is run."""
    path: Sequence[str] = search_path(directory)
    spec: ModuleSpec | None = None
    for number, part in enumerate(module.split(".")):
        spec = PathFinder.find_spec(part, path)
        if spec is None and number == 0:
            spec = find_installed(part)
        if spec is None:
            raise ValueError(_no_module(module, job, number, path, directory))
        path = list(spec.submodule_search_locations or ())
    assert spec is not None  # a name has at least one part
    return spec


def find_installed(name: str) -> ModuleSpec | None:
    """Find a top-level module that only a custom finder knows, as in an editable install; nothing is imported."""
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def _no_module(module: str, job: str, number: int, path: Sequence[str], directory: Path) -> str:
    if "." not in job:
        return f"there is no job {job!r}{_nearest(job, directory)}"
    parts = module.split(".")
    siblings = [".".join([*parts[:number], name]) for name in _modules(path if number else [str(directory)])]
    return f"there is no module {'.'.join(parts[: number + 1])!r}{did_you_mean(module, siblings)}"


def _nearest(job: str, directory: Path) -> str:
    known = sorted({*_jobs(directory), *_scripts(directory, job)})
    return did_you_mean(job, known, "jobs")


def _jobs(directory: Path) -> list[str]:
    spec = PathFinder.find_spec("jobs", search_path(directory))
    return _modules(spec.submodule_search_locations or ()) if spec else []


def _modules(path: Iterable[str]) -> list[str]:
    return sorted({module.name for module in pkgutil.iter_modules(list(path)) if not module.name.startswith("_")})


def _scripts(directory: Path, job: str) -> list[str]:
    beside = Path(job).parent
    try:
        return [str(beside / path.name) for path in sorted((directory / beside).glob("*.py"))[:100]]
    except (OSError, ValueError):
        return []
