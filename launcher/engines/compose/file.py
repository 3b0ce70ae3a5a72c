"""Plan → the text of a compose file, for docker-compose 1.29 and ``docker compose`` 2."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher.contract.environment import KEY_KEY, RUN_KEY, TASK_LABEL, USER_KEY
from launcher.engines.compose.containers import DIRECTORY, RUNS
from launcher.errors import UsageError
from launcher.plan.plan import Plan, TaskPlan
from launcher.spec.job_source import ROOT
from launcher.spec.yaml.writer import in_one_line
from launcher.text import one_line

IMAGES = "launcher"  # launcher:cpu and launcher:gpu
DOCKERFILE = "docker/Dockerfile"
PLAN = "/plan.json"  # where a container finds the plan, which is beside the compose file under that name:
PLAN_SUFFIX = ".plan.json"
_INDENT = "  "


def compose(
    plan: Plan, output: Path, *, source: Path, relative: bool, runs: Path | None = None, internal: bool = False
) -> str:
    """Return the compose file of a containerised plan: a service for each task.

    It is for ``output``, beside which the plan is; ``source`` is the cluster file that the plan is of. Paths are
    absolute unless ``relative``: then they are relative to that place. ``runs`` is where the runs' directories are
    (``run.output`` unless given). An ``internal`` network reaches nothing outside.
    """
    runs = runs or Path(plan.directory) / plan.spec.run.output
    place = _Place(output.absolute().parent if relative else None)
    shared = {
        "image": image(plan),
        "build": _build(plan, place),
        "user": _Raw(f"${{{USER_KEY}:-1000:1000}}"),
        "environment": {RUN_KEY: _run(plan), KEY_KEY: _Raw(f"${{{KEY_KEY}:-}}")},
        # Written out: compose then refuses a place that is not there; for the short form it makes one that root owns.
        "volumes": [
            {"type": "bind", "source": place.of(Path(plan.directory)), "target": DIRECTORY, "read_only": True},
            {"type": "bind", "source": place.of(runs), "target": RUNS},
            {"type": "bind", "source": place.of(plan_beside(output)), "target": PLAN, "read_only": True},
        ],
        "networks": ["cluster"],
        "restart": f"on-failure:{plan.spec.run.restarts}" if plan.spec.run.restarts else "no",
        "stop_grace_period": f"{math.ceil(plan.spec.run.grace)}s",
        "security_opt": ["no-new-privileges:true"],
    }
    parts = [_header(plan, source, output if relative else None, runs), "x-task: &task", *_mapping(shared, 1), ""]
    parts += ["services:"]
    for task in plan.tasks:
        parts += [f"  {task.task.slug}:", "    <<: *task", *_mapping(_service(plan, task), 2)]
    parts += ["", "networks:", "  cluster:", f"    internal: {_flow(internal)}"]
    return "\n".join(parts) + "\n"


def plan_beside(output: Path) -> Path:
    """Return the file of the plan that belongs to a compose file."""
    return output.with_suffix(PLAN_SUFFIX)


def image(plan: Plan) -> str:
    """Return the name of the image that this plan's tasks need."""
    return f"{IMAGES}:{kind(plan)}"


def kind(plan: Plan) -> str:
    """Return the Dockerfile's TENSORFLOW: gpu if any task has one."""
    return "gpu" if any(task.gpus for task in plan.tasks) else "cpu"


def _build(plan: Plan, place: _Place) -> Mapping[str, Any]:
    arguments = {"BASE_IMAGE": _Raw("${BASE_IMAGE:-python:3.12-slim}"), "TENSORFLOW": kind(plan)}
    network = _Raw("${BUILD_NETWORK:-default}")
    return {"context": place.of(ROOT), "dockerfile": DOCKERFILE, "network": network, "args": arguments}


def _service(plan: Plan, task: TaskPlan) -> dict[str, Any]:
    service: dict[str, Any] = {"command": ["run", "--plan", PLAN, "--task", str(task.task)]}
    if task.cores:
        service["cpuset"] = ",".join(map(str, task.cores))
    if task.gpus:
        ids = [str(gpu) for gpu in task.gpus]
        devices = [{"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}]
        service["deploy"] = {"resources": {"reservations": {"devices": devices}}}
    if len(task.gpus) > 1:
        service["shm_size"] = "1gb"  # NCCL joins the GPUs of one task through shared memory; 64 MiB are too few
    return service | {"labels": {"launcher.run": _run(plan), TASK_LABEL: str(task.task)}}


def _run(plan: Plan) -> _Raw:
    return _Raw(f"${{{RUN_KEY}:-{plan.spec.name}}}")


def _header(plan: Plan, source: Path, output: Path | None, runs: Path) -> str:
    asked = (
        f"launcher render compose {shlex.quote(source.name)}"
        if source.name != "cluster.yaml"
        else "launcher render compose"
    )
    lines = [f"Rendered from {source.name} by `{asked}`: change that file and render again."]
    if output is not None:
        up = f"docker compose --file {_shown(output)} up --build --exit-code-from {plan.leader.slug}"
        lines += [
            f"`launcher run --on compose` does all of it. By hand, {_shown(runs)} must be there and yours:",
            f"  mkdir -p {_shown(runs)} && {USER_KEY}=$(id -u):$(id -g) {up}",
        ]
    return "".join(f"# {one_line(line)}\n" for line in lines)


def _shown(path: Path) -> str:
    """Return the path as a shell takes it."""
    return shlex.quote(os.path.relpath(path) if path.is_absolute() else str(path))


class _Place:
    """Writes paths of this host as a compose file in that directory has them."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def of(self, path: Path) -> str:
        if not _is_utf8(str(path.absolute())):
            raise UsageError(f"{path}: the name is not UTF-8, so no compose file can have it; rename it")
        if self._directory is None:
            return str(path.absolute())
        beside = os.path.relpath(path.absolute(), self._directory)
        return beside if beside.startswith(".") else f"./{beside}"  # or it would be the name of a volume


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


class _Raw(str):
    """A text with compose's own ``${…}`` in it."""

    __slots__ = ()


def _mapping(values: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Yield the lines of a mapping; PyYAML would not write the merge key like this."""
    inner = _INDENT * (depth + 1)
    for key, value in values.items():
        start = f"{_INDENT * depth}{key}:"
        if isinstance(value, Mapping):
            yield start
            yield from _mapping(value, depth + 1)
        elif isinstance(value, list) and isinstance(value[0], Mapping):
            yield start
            yield from (f"{inner}- {_flow(item)}" for item in value)
        else:
            yield f"{start} {_flow(value)}"


def _flow(value: Any) -> str:
    """Return the value in one line."""
    return in_one_line(_literal(value))


def _literal(value: Any) -> Any:
    """Return the value as compose takes it for itself: a dollar sign is doubled."""
    match value:
        case str() if not isinstance(value, _Raw):
            return value.replace("$", "$$")
        case Mapping():
            return {key: _literal(child) for key, child in value.items()}
        case list():
            return [_literal(child) for child in value]
    return value
