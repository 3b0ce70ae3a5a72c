"""compose: each task is a container of this machine, and nothing is left of them afterwards."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from launcher.contract.environment import KEY_KEY, RUN_KEY, USER_KEY
from launcher.contract.task import Task
from launcher.engines.compose.containers import inside, plan_containers
from launcher.engines.compose.docker import Docker
from launcher.engines.compose.file import PLAN_SUFFIX, compose
from launcher.engines.compose.image import image_of, owner
from launcher.engines.compose.run import ContainerRun, ContainersEnded, refuse_second
from launcher.engines.compose.section import ComposeSection
from launcher.engines.engine import Rendered, Request
from launcher.engines.run_key import new_key
from launcher.errors import UsageError
from launcher.host.inventory import Inventory
from launcher.plan.plan import Plan
from launcher.rundir import LATEST, RunFiles
from launcher.spec.file import ClusterFile
from launcher.supervise.causes import Cause
from launcher.supervise.result import Ending, Outcome, conclude, read_back
from launcher.text import one_line
from launcher.whole_files import write_json, write_whole

noun = "container"
starts_parts = False

_WAY_OUT = "the containers' network is internal and reaches no other machine; --set compose.internal=false opens it"
_STOPPED = (130, 143)


def plan(asked: ClusterFile, inventory: Inventory, here: Task | str | None = None) -> Plan:
    """Place the tasks in containers of this machine, each called by the name of its service."""
    if here is not None:
        raise UsageError("compose runs the whole cluster on this machine, and no part of it")
    return plan_containers(asked, inventory)


def network(plan: Plan, section: BaseModel | None) -> str:  # noqa: ARG001
    """Return whether the containers' network is closed."""
    out = "it reaches no other machine (compose.internal)" if _is_internal(section) else "it lets connections out"
    return f"one of the containers' own, with no published port; {out}"


def render(asked: ClusterFile, plan: Plan, source: Path, output: Path | None) -> Rendered:
    """Return the compose file, and the plan that the launchers in its containers read."""
    place = output or asked.directory / "compose.yaml"
    internal = _is_internal(asked.sections["compose"])
    text = compose(plan, place, source=source, relative=output is not None, internal=internal)
    if output is None:
        text = f"# To start it, write it with its plan: launcher render compose --output {_word(place.name)}\n{text}"
    return Rendered(text, {PLAN_SUFFIX: json.dumps(inside(plan).to_dict(), indent=2) + "\n"})


def _word(name: str) -> str:
    return one_line(shlex.quote(name))


def run(request: Request) -> Outcome:
    """Build the image, run the cluster in containers, and remove them."""
    internal = _is_internal(request.section)
    image, docker = image_of(request.plan), Docker.find()
    user = owner(docker)
    if request.files:
        refuse_second(docker, request.files)
    made = [place for place in (request.output, *request.output.parents) if not place.exists()]
    with request.directory() as files:
        _prepare(request, files, made, user, internal=internal)
        environment = {**os.environ, RUN_KEY: files.name, KEY_KEY: new_key(), USER_KEY: "{}:{}".format(*user)}
        with request.screen as screen:
            containers = ContainerRun(request.plan, files, docker, screen, environment)
            # Of the attempt that this one continues: a container's launcher would take it for its own end.
            before, steps = files.elapsed(), files.last_checkpoint()
            files.result.unlink(missing_ok=True)
            resumed = {"steps": steps, "wall_s": before} if before else None
            ended = containers.run(image, request.headline)
        outcome = concluded(files, request.plan, ended, request.began_ns, resumed)
        return replace(outcome, way_out=_WAY_OUT if internal else "")


def concluded(
    files: RunFiles, plan: Plan, ended: ContainersEnded, began_ns: int, resumed: Mapping[str, Any] | None = None
) -> Outcome:
    """Return how the run ended, written down; what its leader could not know, or not write, is added here."""
    written = files.read_result()
    outcome = None if ended.cause else read_back(files, began_ns)
    if outcome is None:
        ending = _ending(files, plan, ended, (time.time_ns() - began_ns) / 1e9)
        outcome = conclude(plan, files, replace(ending, resumed=resumed))
    elif outcome.result.status == "stopped":  # which signal it was, the containers never heard
        outcome = replace(outcome, result=replace(outcome.result, exit_code=ended.exit_code))
    if outcome.result.to_dict() != written:
        write_json(files.result, outcome.result.to_dict())
    return outcome


def _ending(files: RunFiles, plan: Plan, ended: ContainersEnded, wall_s: float) -> Ending:
    task, error = ended.cause or (plan.leader, f"its container ended with exit code {ended.exit_code}")
    attempt = files.next_attempt([task.slug]) - 1
    stopped = ended.exit_code in _STOPPED
    return Ending(
        status="stopped" if stopped else "failed",
        exit_code=ended.exit_code or 1,  # a leader that ends with 0 leaves a result
        attempts=attempt,
        wall_s=wall_s,
        cause=None if stopped else Cause(task, error),
        cause_attempt=max(attempt, 1),
    )


def _prepare(request: Request, files: RunFiles, made: Iterable[Path], user: tuple[int, int], *, internal: bool) -> None:
    """Write all that the containers need; let it, and what was ``made`` for it, be the user's whom they run as."""
    # A run of that name may have been asked for otherwise before; its containers read what is asked now.
    request.write_down(files)
    write_json(files.compose_plan, inside(request.plan).to_dict())
    write_whole(files.compose, _compose_file(request.plan, files, internal=internal))
    if os.geteuid() == 0 and user[0]:
        # Under sudo everything is made by root, and is to belong to the user who called it.
        _give([*(place for place in made if place.exists()), *_all(files)], user)  # a run that was moved is elsewhere


def _is_internal(section: BaseModel | None) -> bool:
    """Return what the cluster file says; UsageError if there is only a plan, which has no engine's section."""
    if isinstance(section, ComposeSection):
        return section.internal
    raise UsageError("a plan does not say whether its containers' network is closed; start them with the cluster file")


def _compose_file(plan: Plan, files: RunFiles, *, internal: bool) -> str:
    # This launcher restarts containers by itself: the engine would do so whatever the exit code says, and could not
    # count over all of them.
    spec = plan.spec.model_copy(update={"run": plan.spec.run.model_copy(update={"restarts": 0})})
    once = replace(plan, spec=spec)
    return compose(
        once, files.compose, source=files.cluster_file, relative=False, runs=files.directory.parent, internal=internal
    )


def _all(files: RunFiles) -> Iterable[Path]:
    latest = files.directory.parent / LATEST
    return [*([latest] if latest.is_symlink() else []), files.directory, *files.directory.rglob("*")]


def _give(paths: Iterable[Path], user: tuple[int, int]) -> None:
    for path in paths:
        os.chown(path, *user, follow_symlinks=False)
