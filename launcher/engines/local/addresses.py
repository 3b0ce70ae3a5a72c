"""Addresses: in which network the tasks of one launcher are, and on which ports they listen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from launcher.engines.local.ports import HeldPorts, ports_of
from launcher.host.ports import free_ports
from launcher.plan.placement import with_ports
from launcher.plan.plan import Plan, TaskPlan
from launcher.rundir import RunFiles, write_json


class Addresses:
    """The plan with the ports of the present attempt, and those of them that are held."""

    def __init__(
        self, plan: Plan, tasks: Iterable[TaskPlan], network: Literal["private", "host"], held: HeldPorts | None = None
    ) -> None:
        """``network`` is the one that was asked for; ``held`` holds the tasks' ports already, if anything does."""
        self.plan, self.network = plan, network
        self.tasks = {task.task: task for task in tasks}
        self.held = held or HeldPorts()
        self.is_closed = False  # whether the network reaches nothing outside, as far as it is known by now

    def settle(self, word: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """Take in which network the spawner got; if it is not the one that was asked for, hold the host's ports."""
        self.is_closed = bool(word["closed"])
        if self.is_closed:
            remedy = "install one, or --set run.network=host, if the job loads or reports anything"
            say(f"this run's network reaches nothing outside: {word['closed']}; {remedy}")
        if word["network"] != self.network:
            self.network = word["network"]
            say(f"the tasks' ports are open to this host's network: {word['why']}")
            self._hold()

    def renew(self, files: RunFiles) -> None:
        """Move the tasks to other ports, and write them down; those that the cluster file fixes stay."""
        before = {*ports_of(self.plan, self.tasks.values())}
        plan = with_ports(self.plan, [port for port in free_ports(2 * len(before) + 2) if port not in before])
        if plan == self.plan:
            return
        self.plan, self.tasks = plan, {task.task: task for task in plan.tasks if task.task in self.tasks}
        if self.network == "host":
            self._hold()
        write_json(files.plan, plan.to_dict())

    def _hold(self) -> None:
        self.held.hold(ports_of(self.plan, self.tasks.values()))
