"""Addresses: in which network the tasks of one launcher are, and on which ports they listen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from launcher.engines.local.network.settled import Network
from launcher.engines.local.ports import HeldPorts, ports_of
from launcher.host.ports import free_ports
from launcher.plan.placement import with_ports
from launcher.plan.plan import Plan, TaskPlan
from launcher.rundir import RunFiles
from launcher.whole_files import write_json


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

    def settle(self, network: Network, say: Callable[[str], None]) -> None:
        """Take in which network the spawner got; if it is not the one that was asked for, hold the host's ports."""
        if network.closed:
            self.cut_off(network, say)
        if network.name != self.network:
            self.network = network.name
            say(str(network))
            self._hold()

    def cut_off(self, network: Network, say: Callable[[str], None]) -> None:
        """Take in that the tasks' network reaches nothing outside, from the start or from now on."""
        if not self.is_closed:
            self.is_closed = True
            say(str(network))

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
