"""A launch that only pretends, for tests of the verb `run` without processes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from launcher.commands.train.run import command
from launcher.contract.task import Task
from launcher.engines.engine import Screen
from launcher.engines.local.ports import HeldPorts
from launcher.errors import LauncherError
from launcher.plan.plan import Plan, TaskPlan
from launcher.rundir import RunFiles
from launcher.supervise.causes import Cause
from launcher.supervise.result import Outcome, RunResult

FILE = "job: hello\nname: demo\ncluster: {worker: {tasks: 2, gpus: 0}, ps: 1}\n"
HOSTS = ("--set", "cluster.worker=[node-a:2222, node-b:2222]", "--set", "cluster.ps=0")
DONE = RunResult(
    status="done",
    exit_code=0,
    mode="sync",
    strategy="MultiWorkerMirroredStrategy",
    communication="RING",
    reason="2 tasks take each step together",
    world_size=2,
    steps=17_000,
    metrics={"W": [1.0], "b": 0.79880123, "devices": 2},
    attempts=1,
    wall_s=7.4,
    time_to_first_step_s=3.0,
    steps_per_s=4250.4,
    cause=None,
)
WORKER = Task("worker", 1)
NOWHERE = RunFiles(Path())


class FakeLaunch:
    """Stands in for a launch; the class knows how it ends and remembers what was launched."""

    outcome = Outcome(DONE, NOWHERE)
    plan: Plan
    files: RunFiles
    screen: Screen
    network = ""
    tasks: tuple[str, ...] = ()

    def __init__(
        self,
        plan: Plan,
        tasks: Iterable[TaskPlan],
        files: RunFiles,
        screen: Screen,
        *,
        network: str,
        ports: HeldPorts,
        began: float,
        locks: Sequence[int],
        key: str,
    ) -> None:
        assert locks
        cls = type(self)
        cls.plan, cls.files, cls.screen, cls.network = plan, files, screen, network
        cls.tasks = tuple(str(task.task) for task in tasks)

    def run(self, headline: str) -> Outcome:
        click.echo(headline)
        return replace(self.outcome, files=self.files)

    @property
    def is_closed(self) -> bool:
        return self.network == "private"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def refused(*arguments: str) -> str:
    with pytest.raises(LauncherError) as caught:
        call(*arguments)
    assert caught.value.exit_code == 2
    assert not Path("runs").exists()
    return str(caught.value)


def ended(status: str, code: int, cause: Cause | None = None, **changes: Any) -> Outcome:
    return Outcome(RunResult(**{**DONE.to_dict(), "status": status, "exit_code": code, **changes}), NOWHERE, cause)


def directory_in(output: str) -> str:
    found = re.search(r"^run directory: (runs/demo-\d{8}T\d{6}Z(-\d+)?)$", output, re.MULTILINE)
    assert found, output
    return found[1]
