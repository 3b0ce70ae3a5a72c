"""The run that ``launcher run`` is about: a new one, one of a name, or one that is continued."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from launcher.engines.table import load
from launcher.errors import UsageError
from launcher.plan.plan import Plan
from launcher.rundir import LATEST, RunFiles
from launcher.spec.file import ClusterFile
from launcher.spec.model import ClusterSpec, check_name
from launcher.spec.yaml.nodes import Node
from launcher.terminal.printing import say
from launcher.terminal.summary import shown
from launcher.whole_files import read_json


def resumed(run: str, file: Path, overrides: Sequence[str]) -> tuple[RunFiles, ClusterFile]:
    """Find a run and load the cluster file that it was started with; paths start where they started then."""
    output = load(file, overrides).spec.run.output if file.exists() else "runs"
    files = RunFiles.find(file.parent / output, run)
    plan: dict[str, Any] = read_json(files.plan)
    if not isinstance(plan.get("directory"), str):
        raise UsageError(f"{files.plan} is damaged: it has no directory; start a new run")
    asked = load(files.cluster_file, overrides)
    return files, dataclasses.replace(asked, directory=Path(plan["directory"]))


def placed(path: Path) -> tuple[Plan, ClusterFile]:
    """Read a plan that another launcher wrote, and return it with what it was made of; UsageError if it is none."""
    plan = Plan.from_dict(read_json(path))
    data = plan.spec.model_dump(exclude_defaults=True)  # not as JSON, where pydantic has no infinite number
    return plan, ClusterFile(plan.spec, data, Path(plan.directory), Node({}, str(path)))


def continues(files: RunFiles, asked: ClusterSpec, *, again: bool) -> bool:
    """Say what an existing run is continued with that is not as before, and return whether there is any such thing.

    Ends this launcher if the run is over; ``again``: a run that has failed may be tried again.
    UsageError if the run's checkpoints cannot serve what is asked now.
    """
    began = files.cluster_file.exists() and files.last_checkpoint() > 0
    changed = list(changes(load(files.cluster_file).spec, asked)) if began else []
    if not changed:
        leave_if_over(files, again=again)
    for line in changed:
        say(f"{files.name} continues with a change: {line}", err=True)
    return bool(changed)


def changes(before: ClusterSpec, now: ClusterSpec) -> Iterator[str]:
    """Yield a sentence for each change between two starts of one run; UsageError for another job."""
    if now.job != before.job:
        raise UsageError(
            f"job: the run trains {before.job}, and {now.job} is another job, which its checkpoints do not fit; "
            "start a new run"
        )
    for key in sorted({*before.args, *now.args}):
        old, new = (json.dumps(args[key]) if key in args else "not set" for args in (before.args, now.args))
        if old != new:
            yield f"args.{key} was {old} and is {new} from the last checkpoint on"
    if now.mode != before.mode:
        yield f"the mode was {before.mode} and is {now.mode}"
    workers, workers_now = (spec.cluster.worker.tasks if spec.cluster.worker else 0 for spec in (before, now))
    if workers != workers_now:
        same = "; the global batch is the same, and so is the result" if now.mode == before.mode == "sync" else ""
        yield f"there were {workers} workers and are {workers_now}{same}"


def named(name: str, asked: ClusterFile) -> RunFiles:
    """Return the run of that name, there or not."""
    if name == LATEST:
        raise UsageError(f"--run: {LATEST} points at the newest run; use another name, or --resume {LATEST}")
    try:
        return RunFiles(asked.directory / asked.spec.run.output / check_name(name))
    except ValueError as error:
        raise UsageError(f"--run: {error}") from None


def leave_if_over(files: RunFiles, *, again: bool) -> None:
    """End this launcher if the run is over; ``again``: a run that has failed may be tried again."""
    result = files.read_result()
    if result and result["status"] == "done":
        say(f"{files.name} is finished ({result['steps']} steps): nothing to do.")
        sys.exit(0)
    if result and result["status"] == "failed" and not again:
        # An engine that restarts containers must not repeat what a restart does not help.
        retry = f"launcher run --resume {shown(files.directory)} tries this one again"
        say(f"{files.name} has failed before; another name starts a new run, {retry}", err=True)
        say(f"{result['cause']['task']} failed: {result['cause']['error']}", err=True)
        sys.exit(result["exit_code"])
