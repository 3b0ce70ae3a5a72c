"""The table of engines: name → module, imported on use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from launcher.errors import UsageError
from launcher.spec import file as cluster_files
from launcher.spec.file import ClusterFile, no_engine

if TYPE_CHECKING:  # whoever only reads a cluster file needs no engine
    from launcher.engines.engine import Engine

ENGINES = {
    "local": "launcher.engines.local.engine",
    "compose": "launcher.engines.compose.engine",
}


def find(name: str) -> Engine:
    """Import the engine of that name; UsageError if there is none."""
    if name not in ENGINES:
        raise UsageError(no_engine(name, ENGINES))
    engine: Engine = import_module(ENGINES[name])
    return engine


class Sections(Mapping[str, type[BaseModel] | None]):
    """Each engine's model of its section of a cluster file: ``section`` of the module of that name beside the engine.

    None for an engine without such a module. Looking one up imports no engine, which takes longer.
    """

    def __getitem__(self, name: str) -> type[BaseModel] | None:
        if name not in ENGINES:
            raise KeyError(name)
        place = f"{ENGINES[name].rpartition('.')[0]}.section"
        try:
            model: type[BaseModel] = import_module(place).section
        except ModuleNotFoundError as missing:
            if missing.name != place:
                raise
            return None
        return model

    def __contains__(self, name: object) -> bool:
        return name in ENGINES

    def __iter__(self) -> Iterator[str]:
        return iter(ENGINES)

    def __len__(self) -> int:
        return len(ENGINES)


SECTIONS = Sections()


def load(path: Path, overrides: Sequence[str] = ()) -> ClusterFile:
    """Read and check a cluster file as ``spec`` does, with every engine's section."""
    return cluster_files.load(path, overrides, SECTIONS)
