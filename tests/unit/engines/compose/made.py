"""Invented machines, cluster files made for a test, and the rendered text as compose reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from launcher.engines.compose.containers import containerised
from launcher.engines.compose.file import compose
from launcher.host.inventory import Core, Gpu, Inventory
from launcher.plan.placement import place_file
from launcher.plan.plan import Plan
from launcher.spec.file import load

# What compose makes of a text: $$ is a dollar sign, and ${NAME:-default} the variable; anything else is refused here.
_INTERPOLATED = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+):-(?P<default>[^}]*)\})?")


def machine_with(cores: Sequence[int] = (0, 1), gpus: int = 0) -> Inventory:
    """Return a machine of these cores and so many GPUs."""
    return Inventory(
        "invented",
        tuple(map(Core, cores)),
        tuple(Gpu(number, f"GPU-{number}", "T4", 16_000, 16_000) for number in range(gpus)),
        "" if gpus else "no NVIDIA driver",
        tuple(range(5000, 5100)),
    )


def write(directory: Path, *, mode: str = "sync", run: Mapping[str, Any] | None = None, **cluster: Any) -> Path:
    """Write a cluster file of the bundled job hello and these jobs; return its path."""
    content = {"name": "demo", "mode": mode, "job": "hello", "cluster": cluster, "run": dict(run or {})}
    path = directory / "cluster.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def outside(path: Path, machine: Inventory, overrides: Sequence[str] = ()) -> Plan:
    """Return the plan of the tasks as processes of that machine."""
    return place_file(load(path, overrides), machine)


def in_containers(path: Path, machine: Inventory, overrides: Sequence[str] = ()) -> Plan:
    """Return the plan of the tasks in containers of that machine."""
    return containerised(outside(path, machine, overrides))


def render(
    path: Path,
    machine: Inventory | None = None,
    overrides: Sequence[str] = (),
    output: Path | None = None,
    *,
    internal: bool = False,
) -> str:
    """Return the compose file of a cluster file."""
    plan = in_containers(path, machine or machine_with(), overrides)
    place = output or path.absolute().parent / "compose.yaml"
    return compose(plan, place, source=path, relative=output is not None, internal=internal)


def read(text: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the compose file as compose reads it: merged, and its variables filled in."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it
    value: dict[str, Any] = _filled_in(yaml.load(text, Loader=loader), environment or {})
    return value


def _filled_in(value: Any, environment: Mapping[str, str]) -> Any:
    def fill(found: re.Match[str]) -> str:
        assert found["dollar"] or found["name"], f"compose refuses the dollar sign in {value!r}"
        return "$" if found["dollar"] else environment.get(found["name"]) or found["default"]

    if isinstance(value, Mapping):
        return {key: _filled_in(child, environment) for key, child in value.items()}
    if isinstance(value, list):
        return [_filled_in(child, environment) for child in value]
    return _INTERPOLATED.sub(fill, value) if isinstance(value, str) else value
