"""Whether a job uses Keras, read from its own source; nothing of it is run."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

from launcher.spec.job_source import source_files

_PACKAGES = {"keras", "tf_keras"}
_SETTINGS = ("KERAS_", "TF_USE_LEGACY_KERAS")  # environment variables that Keras reads once, at its import


def job_uses_keras(job: str, directory: Path) -> bool:
    """Whether the job's own files use Keras as it is imported by default; False for a job that cannot be read.

    What is wrong with such a job, the task that imports it tells.
    """
    try:
        sources = [file.read_bytes() for file in source_files(job, directory) if file.suffix == ".py"]
        return uses_keras(*sources)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return False


def uses_keras(*sources: bytes | str) -> bool:
    """Whether the sources name Keras, and none of the variables that its import reads; SyntaxError if one is no Python.

    A job that sets such a variable has to do so before Keras is imported.
    """
    with warnings.catch_warnings(action="ignore"):
        nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    return any(map(_names_keras, nodes)) and not any(map(_names_a_setting, nodes))


def _names_keras(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return any(_PACKAGES & set(name.name.split(".")) for name in names)
        case ast.ImportFrom(module=module, names=names):
            return bool(_PACKAGES & {*(module or "").split("."), *(name.name for name in names)})
        case ast.Attribute(attr=name):
            return name in _PACKAGES
    return False


def _names_a_setting(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(_SETTINGS)
