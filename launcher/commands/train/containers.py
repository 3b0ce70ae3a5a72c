"""``launcher run --compose``: the same run in containers of this machine, and nothing left of them afterwards."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.commands.train.run_files import goes_on, named, prepared, resumed, write_down
from launcher.contract.environment import RUN_KEY, USER_KEY
from launcher.contract.task import Task
from launcher.engines.compose.containers import plan_containers
from launcher.engines.compose.docker import Engine
from launcher.engines.compose.file import DOCKERFILE, compose, image, kind
from launcher.engines.compose.run import ComposeRun, Ending, Image, refuse_second
from launcher.errors import UsageError
from launcher.host.inventory import take
from launcher.plan.placement import ports_needed
from launcher.plan.plan import Plan
from launcher.rundir import LATEST, RunFiles, read_json, write_json, write_whole
from launcher.spec.file import ClusterFile, check_job, load
from launcher.spec.job_source import ROOT
from launcher.supervise.causes import Cause
from launcher.supervise.events import Exited
from launcher.supervise.result import RunResult
from launcher.terminal.screen import TerminalScreen
from launcher.terminal.summary import achieved, first_cause, headline, print_last, run_directory, stopped
from launcher.text import counted

_WAY_OUT = "the containers' network is internal and reaches nothing outside; bring what the job needs along"


def run_in_containers(
    file: Path, overrides: Sequence[str], resume: str | None, name: str | None, *, as_json: bool
) -> int:
    """Build the image, run the cluster in containers, remove them, and return the launcher's exit code."""
    began_ns = time.time_ns()
    files, asked = resumed(resume, file, overrides) if resume else (None, load(file, overrides))
    if name and not resume:
        files = named(name, asked)
    if files:
        goes_on(files, asked.spec, again=bool(resume))
    check_job(asked)
    plan = plan_containers(asked, take(ports_needed(asked.spec)))
    built, engine = _image(plan), Engine.find()
    user = _user(engine)
    if files:
        refuse_second(engine, files)
    files = _prepared(files, asked, plan, user, again=bool(resume))
    environment = {**os.environ, RUN_KEY: files.name, USER_KEY: "{}:{}".format(*user)}
    with TerminalScreen((task.task for task in plan.tasks), sys.stderr if as_json else sys.stdout) as screen:
        run = ComposeRun(plan, files, engine, screen, environment)
        # Of the attempt that this one goes on from: a container's launcher would take it for its own end.
        files.result.unlink(missing_ok=True)
        ending = run.run(built, headline(plan, counted(len(plan.tasks), "container")))
    result = _concluded(files, plan, ending, began_ns)
    print_last([json.dumps(result.to_dict(), indent=2)] if as_json else _summary(result, files))
    return result.exit_code


def _prepared(
    files: RunFiles | None, asked: ClusterFile, plan: Plan, user: tuple[int, int], *, again: bool
) -> RunFiles:
    """Return the run's directory with all that the containers need in it, owned by whom they run as."""
    output = asked.directory / asked.spec.run.output
    made = [place for place in (output, *output.parents) if not place.exists()]
    files = prepared(files, asked, again=again)
    # A run of that name may have been asked for otherwise before; its containers read what is asked now.
    write_down(files, asked, plan, again=True)
    write_whole(files.compose, _compose_file(plan, files))
    if os.geteuid() == 0 and user[0]:
        # Under sudo everything is made by root, and is to belong to who asked for it.
        latest = files.directory.parent / LATEST
        made = [place for place in made if place.exists()]  # a run that was moved goes on elsewhere
        for path in [*made, *([latest] if latest.is_symlink() else []), files.directory, *files.directory.rglob("*")]:
            os.chown(path, *user, follow_symlinks=False)
    return files


def _compose_file(plan: Plan, files: RunFiles) -> str:
    # This launcher starts containers again by itself: the engine would do so whatever the exit code says, and could not
    # count over all of them.
    once = plan.spec.model_copy(update={"run": plan.spec.run.model_copy(update={"restarts": 0})})
    return compose(replace(plan, spec=once), files.cluster_file, runs=files.directory.parent)


def _image(plan: Plan) -> Image:
    """Return the image of this plan's tasks; BASE_IMAGE and BUILD_NETWORK of the environment go into its build."""
    if not (ROOT / DOCKERFILE).exists():
        raise UsageError(f"--compose builds its image from {DOCKERFILE}, which {ROOT} has not; use a checkout")
    name, build = image(plan), ["--build-arg", f"TENSORFLOW={kind(plan)}"]
    if base := os.environ.get("BASE_IMAGE"):
        build += ["--build-arg", f"BASE_IMAGE={base}"]
    if network := os.environ.get("BUILD_NETWORK"):
        build += ["--network", network]
    return Image(name, ["docker", "build", "--file", str(ROOT / DOCKERFILE), "--tag", name, *build, str(ROOT)])


def _user(engine: Engine) -> tuple[int, int]:
    """Return user and group that the results belong to: whoever started the launcher, under sudo too."""
    if engine.rootless:
        return 0, 0  # which is the user, outside the containers
    if os.geteuid() == 0 and "SUDO_UID" in os.environ:
        return int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
    return os.getuid(), os.getgid()


def _concluded(files: RunFiles, plan: Plan, ending: Ending, began_ns: int) -> RunResult:
    """Return how the run ended; what its leader could not know, or not write down, is added here."""
    told = files.read_result()
    if told and not ending.cause:
        result = RunResult(**told)
        if result.status == "failed":
            result = replace(result, cause=_first_error(files, began_ns) or result.cause)
        elif result.status == "stopped":
            result = replace(result, exit_code=ending.exit_code)  # which signal it was, the containers never heard
    else:
        result = _unfinished(files, plan, ending, (time.time_ns() - began_ns) / 1e9)
    if result.to_dict() != told:
        write_json(files.result, result.to_dict())
    return result


def _first_error(files: RunFiles, began_ns: int) -> dict[str, str] | None:
    """Return the earliest error of any task that starting again would not have mended, as result.json has it."""
    errors = [(path, read_json(path)) for path in files.directory.glob("errors/*/*.json")]
    fatal = [
        (error["time_ns"], path, error)
        for path, error in errors
        if error["time_ns"] >= began_ns and not error["consequence"] and not error["mendable"]
    ]
    if not fatal:
        return None
    _, path, error = min(fatal, key=lambda one: one[0])
    cause = Cause.of(Exited(Task.parse(error["task"]), 1, error))
    return {"task": error["task"], "error": cause.error, "file": str(path.relative_to(files.directory))}


def _unfinished(files: RunFiles, plan: Plan, ending: Ending, took: float) -> RunResult:
    task, error = ending.cause or (plan.leader, f"its container ended with exit code {ending.exit_code}")
    attempt = files.next_attempt([task.slug]) - 1
    file = str(files.log(max(attempt, 1), task.slug).relative_to(files.directory))
    was_stopped = ending.exit_code in (130, 143)
    exit_code = ending.exit_code or 1  # a leader that ends with 0 leaves a result
    return RunResult(
        status="stopped" if was_stopped else "failed",
        exit_code=exit_code,
        mode=plan.spec.mode,
        strategy=plan.strategy,
        communication=plan.communication,
        reason=plan.reason,
        world_size=plan.world_size,
        steps=0,
        metrics={},
        attempts=attempt,
        wall_s=round(took, 3),
        time_to_first_step_s=None,
        steps_per_s=None,
        cause=None if was_stopped else {"task": str(task), "error": error, "file": file},
    )


def _summary(result: RunResult, files: RunFiles) -> list[str]:
    where = run_directory(files.directory)
    if result.status == "done":
        return [*achieved(result), where]
    if result.cause is None:
        return [stopped(result, files, "launcher run --compose"), where]
    return [where, *_first_cause(result.cause, files)]


def _first_cause(cause: Mapping[str, Any], files: RunFiles) -> list[str]:
    task, file = Task.parse(cause["task"]), files.directory / cause["file"]
    record = read_json(file) if file.suffix == ".json" and file.exists() else None
    log = files.directory / "logs" / file.parent.name / f"{task.slug}.log"
    return first_cause(Cause(task, cause["error"], record=record), log, _WAY_OUT)
