"""cluster.yaml read and checked: all of its problems at once, each with its line."""

from __future__ import annotations

import math
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from launcher.contract.args import read_args
from launcher.contract.faults import Fault, KeyPath, dotted, faults, type_name
from launcher.contract.task import JOBS
from launcher.errors import Problem, SpecError, did_you_mean, listing
from launcher.spec.job_source import config_module, importing_from
from launcher.spec.model import WRITTEN_AS, ClusterSpec
from launcher.spec.overrides import apply, expand_jobs, keep_typed_env
from launcher.spec.rules import UNKNOWN, broken_rules
from launcher.spec.yaml.nodes import Node
from launcher.spec.yaml.numbers import out_of_range
from launcher.spec.yaml.parser import parse
from launcher.text import whole_number

DEFAULT_FILE = Path("cluster.yaml")
MAX_BYTES = 1 << 20
Engines = Mapping[str, type[BaseModel] | None]  # of each engine's name: the model of its section, if it has one
_KEYS = "name, mode, job, args, cluster, run"
# Values for keys that are missing or wrong, so that the rest of the file can still be checked.
_STAND_INS: dict[str, Any] = {"job": "unknown", "cluster": {}}


class Sections(dict[str, BaseModel | None]):
    """What a file says to each engine, by name; one that it says nothing to has its defaults, or None.

    SpecError for an engine whose section must be written, and is not.
    """

    def __init__(self, written: Mapping[str, BaseModel | None], engines: Engines) -> None:
        super().__init__(written)
        self._engines = engines

    def __missing__(self, name: str) -> BaseModel | None:  # whoever only reads the file imports no engine
        model = self._engines.get(name)
        section, wrong = _section(name, model, {}) if model else (None, [])
        if wrong:
            raise SpecError(Problem("", dotted(fault.path), fault.message) for fault in wrong)
        return section


@dataclass(frozen=True)
class ClusterFile:
    """A valid cluster file."""

    spec: ClusterSpec
    data: dict[str, Any]  # plain, after --set; as short as it was written
    directory: Path  # absolute; relative paths of the file start here
    _root: Node = field(repr=False, compare=False)
    sections: Sections = field(default_factory=lambda: Sections({}, {}))

    def locate(self, key: str) -> str:
        """Return the place of a dotted key: ``cluster.yaml:7``, or ``--set …``."""
        numbers = [(part, whole_number(part)) for part in key.split(".")]
        return self._root.locate(tuple(part if number is None else number for part, number in numbers))

    def expanded(self) -> dict[str, Any]:
        """Return the plain data with every job of the cluster as a mapping."""
        data: dict[str, Any] = self._root.plain()
        return data

    def blame(self, error: SpecError) -> SpecError:
        """Return the error with the line of each of its keys that has none yet."""
        return SpecError(
            problem if problem.where else replace(problem, where=self.locate(problem.key)) for problem in error.problems
        )

    def refuse(self, key: str, message: str) -> SpecError:
        """Return the error for that key; each line of the message is a problem."""
        return SpecError(Problem(self.locate(key), key, line) for line in message.splitlines() or [""])


def load(path: Path, overrides: Sequence[str] = (), engines: Engines | None = None) -> ClusterFile:
    """Read the file, apply each ``key=value``, and check it all; SpecError names every problem.

    ``engines`` are the names that ``run.on`` may have, each with the model of its section; None: no section, any name.
    """
    return check(read(path), path, overrides, engines)


def check(text: str, path: Path, overrides: Sequence[str] = (), engines: Engines | None = None) -> ClusterFile:
    """Check the text of a file, which may not have been written yet, as ``load`` does."""
    root, problems = parse(text, lambda line: f"{path}:{line}")
    if root is None or not isinstance(root.value, dict):
        found = "is empty" if root is None else f"is {type_name(root.value)}, not a mapping"
        raise SpecError([Problem(str(path), "", f"{found}; a cluster file has the keys {_KEYS}")])
    for override in overrides:
        try:
            root = apply(root, override)
        except SpecError as error:
            problems += error.problems
    root = keep_typed_env(root)
    full = expand_jobs(root)
    data = full.plain()
    sections, found_faults = _sections(data, engines or {})
    spec, more_faults = _check({key: value for key, value in data.items() if key not in sections})
    found_faults += [*more_faults, *out_of_range(full)]
    if spec and engines is not None and spec.run.on not in engines:
        found_faults.append(Fault(("run", "on"), no_engine(spec.run.on, engines)))
    problems += [Problem(full.locate(fault.path), dotted(fault.path), fault.message) for fault in found_faults]
    if spec is None or problems:
        raise SpecError(sorted(problems, key=_line))
    return ClusterFile(spec, root.plain(), path.absolute().parent, full, Sections(sections, engines or {}))


def no_engine(name: str, engines: Iterable[str]) -> str:
    """Return the sentence that there is no engine of that name."""
    return f"there is no engine {name!r}{did_you_mean(name, engines, 'engines')}"


def _sections(data: Mapping[str, Any], engines: Engines) -> tuple[dict[str, BaseModel | None], list[Fault]]:
    """Return the sections of engines in the data, None for one that is wrong, and what is wrong with them."""
    found: dict[str, BaseModel | None] = {}
    wrong: list[Fault] = []
    for name in engines:
        if name in data and (model := engines[name]):
            found[name], faulty = _section(name, model, data[name])
            wrong += faulty
    return found, wrong


def _section(name: str, model: type[BaseModel], written: object) -> tuple[BaseModel | None, list[Fault]]:
    try:
        return model.model_validate(written), []
    except ValidationError as error:
        return None, [replace(fault, path=(name, *fault.path)) for fault in faults(error, written, model)]


def check_job(file: ClusterFile) -> None:
    """Find the job, and check ``args`` if its package has a ``config``; no code of the training itself is run."""
    try:
        name = config_module(file.spec.job, file.directory)
    except ValueError as error:
        raise file.refuse("job", str(error)) from None
    if name:
        with importing_from(file.directory):
            _check_args(file, name)


def _check_args(file: ClusterFile, name: str) -> None:
    try:
        config_class = getattr(import_module(name), "Config", None)
        config: Any = read_args(config_class, file.spec.args) if config_class else None
        if hasattr(config, "check"):
            config.check(file.directory)
    except SpecError as error:
        named = [_of_args(file, one.message) if one.key == "args" else one for one in error.problems]
        raise file.blame(SpecError(named)) from None
    except (ValueError, OSError) as error:
        raise SpecError(_of_args(file, line) for line in str(error).splitlines() or [""]) from None
    except (Exception, SystemExit) as error:  # a script's own exit would end the launcher, with the script's exit code
        raise file.refuse("job", f"{name} fails: {type(error).__name__}: {error}") from error


def _of_args(file: ClusterFile, line: str) -> Problem:
    """Return the problem that a line of the job's Config reports; it is that of the key with which the line begins."""
    name, _, rest = line.partition(" ")
    key, message = (f"args.{name}", rest) if name in file.spec.args else ("args", line)
    return Problem(file.locate(key), key, message)


def _check(data: dict[str, Any]) -> tuple[ClusterSpec | None, list[Fault]]:
    """Return the spec and everything wrong with it: first types and keys, then the rules between them."""
    spec, shape = _shape(data)
    if shape:
        spec, still = _shape(_without(data, shape))
        if still:  # nothing more can be checked
            return None, shape
    assert spec is not None
    return spec, shape + [fault for fault in broken_rules(spec) if not _idle(fault, shape)]


def _shape(data: dict[str, Any]) -> tuple[ClusterSpec | None, list[Fault]]:
    try:
        return ClusterSpec.model_validate(data), _empty_jobs(data)
    except ValidationError as error:
        return None, [*faults(error, data, ClusterSpec), *_empty_jobs(data)]


def _line(problem: Problem) -> float:
    line = whole_number(problem.where.rpartition(":")[2])
    return math.inf if line is None else line  # what --set brings comes last


def _empty_jobs(data: dict[str, Any]) -> list[Fault]:
    # `worker:` without a value could mean none or one; pydantic would read it as none.
    cluster = data.get("cluster")
    empty = [name for name in JOBS if name in cluster and cluster[name] is None] if isinstance(cluster, dict) else []
    return [Fault(("cluster", name), f"must be {WRITTEN_AS}, not empty; 0 is none") for name in empty]


def _without(data: dict[str, Any], shape: Iterable[Fault]) -> dict[str, Any]:
    for fault in shape:
        data = _pruned(data, fault.path)
    return _STAND_INS | data


def _pruned(data: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    if not path or path[0] not in data:
        return data
    key, child = str(path[0]), data[str(path[0])]
    if len(path) > 1 and isinstance(child, dict):
        return data | {key: _pruned(child, path[1:])}
    if len(path) > 1 and key == "addresses":
        # A list keeps its length, so that the indices and the number of the others stay true.
        return data | {key: [f"{UNKNOWN}:{i + 1}" if i == path[1] else address for i, address in enumerate(child)]}
    return {name: value for name, value in data.items() if name != key}


def _idle(fault: Fault, shape: Iterable[Fault]) -> bool:
    """Whether the fault was concluded from keys that are wrong themselves."""
    grounds = (fault.path, *fault.relies_on)
    return any(wrong.path[: len(path)] == path for wrong in shape for path in grounds)


def read(path: Path) -> str:
    """Return the file's text; SpecError if it cannot be read."""
    try:
        state = path.stat()
        if stat.S_ISDIR(state.st_mode):
            raise _unreadable(path, "is a directory", _others(path))
        if state.st_size <= MAX_BYTES:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)  # a pipe or a device has no size to go by
    except FileNotFoundError:
        raise _unreadable(path, "there is no such file", _others(path.parent, path.name)) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if state.st_size > MAX_BYTES or len(content) > MAX_BYTES:
        raise _unreadable(path, "is larger than 1 MiB; a cluster file is a page of text")
    return _decode(path, content)


def _decode(path: Path, content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _unreadable(path, "is written in UTF-16; save it as UTF-8")
    if b"\0" in content:
        raise _unreadable(path, "is a binary file; a cluster file is text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise SpecError([Problem(f"{path}:{line}", "", found)]) from None


def _others(directory: Path, name: str = "") -> str:
    try:
        known = sorted(found.name for found in directory.iterdir() if found.suffix in (".yaml", ".yml"))
    except OSError:
        return ""
    # Compared without their ending, which would make any two names look alike.
    hint = did_you_mean(name, known, key=lambda file: Path(file).stem.lower())
    return hint or listing("", known, f"YAML files in {directory}")


def _unreadable(path: Path, found: str, hint: str = "") -> SpecError:
    return SpecError([Problem(str(path), "", found + hint)])
