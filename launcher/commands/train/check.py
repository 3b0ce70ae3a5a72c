"""``launcher check``: the cluster file, then what this machine must offer."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import click

from launcher.commands import file_probes, machine_probes
from launcher.commands.findings import Finding, State
from launcher.commands.options import cluster_file, tasks_here
from launcher.contract.task import Task
from launcher.engines.local.engine import network_of
from launcher.engines.local.run import LocalRun
from launcher.engines.table import load
from launcher.errors import LauncherError
from launcher.host.inventory import take
from launcher.plan.placement import place_file, ports_needed
from launcher.rundir import RunFiles
from launcher.spec.file import ClusterFile
from launcher.terminal.printing import give, say

_ANSWER = re.compile(r"(?P<task>\w+:\d+) (?P<answer>[CG]PU:\d+: .*)")  # what jobs/hello.py prints


@click.command()
@cluster_file
@click.option("--live", is_flag=True, help="Then start the cluster with the job hello, and report each task.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(file: Path, overrides: Sequence[str], live: bool, as_json: bool) -> None:
    """Check FILE, then what it asks of this machine: TensorFlow, devices, ports, a place to write to.

    Exit codes: 0 all is well; 2 there is a problem. Without --live nothing is started.

    \b
    Example:
      launcher check --live --set mode=async
    """
    findings: list[Finding] = []
    for finding in _all(file, overrides, live=live):
        findings.append(finding)
        if not as_json:
            say(str(finding))
    ok = all(finding.ok for finding in findings)
    if as_json:
        checks = [{"ok": finding.ok} | asdict(finding) for finding in findings]
        give(json.dumps({"ok": ok, "checks": checks}, indent=2))
    sys.exit(0 if ok else 2)


def _all(file: Path, overrides: Sequence[str], *, live: bool) -> Iterator[Finding]:
    found = []
    for finding in chain(file_probes.examine(file, overrides), _network(file, overrides), _tensorflow()):
        found.append(finding)
        yield finding
    if live and all(finding.ok for finding in found):
        yield from _live(load(file, overrides))


def _live(file: ClusterFile) -> Iterator[Finding]:
    if (engine := file.spec.run.on) != "local":
        message = f"starts processes of this machine, and run.on is {engine!r}"
        yield Finding("problem", "--live", message, "to try this machine: --set run.on=local")
        return
    yield from run_hello(file)


def _network(path: Path, overrides: Sequence[str]) -> Iterator[Finding]:
    """Try the network of the tasks, if it is to be one of their own."""
    with suppress(LauncherError):  # which is a finding already
        file = load(path, overrides)
        if file.spec.run.on == "local" and network_of(place_file(file, take(ports_needed(file.spec)))) == "private":
            yield machine_probes.private_network()


def _tensorflow() -> Iterator[Finding]:
    """Check TensorFlow last, since it takes seconds."""
    yield from machine_probes.tensorflow()[0]


def run_hello(file: ClusterFile) -> Iterator[Finding]:
    """Start the cluster with the job hello, and report what each of its tasks computed."""
    screen = HelloScreen()
    with tempfile.TemporaryDirectory() as output:
        asked = replace(file, spec=file.spec.model_copy(update={"job": "hello", "args": {}}))
        plan = place_file(asked, take(ports_needed(asked.spec)))
        here = tasks_here(plan)
        files = RunFiles.create(Path(output), asked.spec.name)
        launch = LocalRun(plan, here, files, screen, network=network_of(plan), began=time.monotonic())
        outcome = launch.run()
    for task in here:
        answers = screen.answers.get(str(task.task), [])
        state: State = "ok" if answers and outcome.exit_code == 0 else "problem"
        yield Finding(state, str(task.task), "; ".join(answers) or "computed nothing")
    if outcome.cause:
        yield Finding("problem", str(outcome.cause.task), outcome.cause.error)


class HelloScreen:
    """A screen that keeps what hello computed: task → a line for each of its devices."""

    def __init__(self) -> None:
        self.answers: dict[str, list[str]] = {}

    def line(self, task: Task, text: str) -> None:
        """Keep an answer under the task that computed it, whoever printed it."""
        if found := _ANSWER.fullmatch(text):
            self.answers.setdefault(found["task"], []).append(found["answer"])

    def note(self, text: str) -> None:
        """Show nothing: the findings tell everything."""

    def progress(self, progress: Mapping[str, Any]) -> None:
        """Show nothing: hello is over at once."""
