"""local: the tasks are processes of this machine, or this machine's part of a cluster of several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from launcher.contract.task import Task
from launcher.engines.engine import Rendered, Request
from launcher.engines.local.network.settled import expected
from launcher.engines.local.ports import HeldPorts, ports_of
from launcher.engines.local.run import LocalRun
from launcher.engines.run_lock import locked
from launcher.errors import UsageError
from launcher.host.inventory import Inventory
from launcher.plan.placement import place_file
from launcher.plan.plan import Plan
from launcher.spec.file import ClusterFile
from launcher.supervise.result import Outcome

noun = "task"
starts_parts = True

_WAY_OUT = (
    "the tasks' network is their own and reaches nothing outside; --set run.network=host lets the job out "
    "(and the tasks' ports are open to this host's network)"
)


def plan(asked: ClusterFile, inventory: Inventory, here: Task | str | None = None) -> Plan:
    """Place the tasks as they were asked for."""
    return place_file(asked, inventory, here)


def render(asked: ClusterFile, plan: Plan, source: Path, output: Path | None) -> Rendered:  # noqa: ARG001
    """Refuse: processes of this machine need no file."""
    raise UsageError("local has nothing to render: its tasks are processes of this machine, which launcher run starts")


def run(request: Request) -> Outcome:
    """Run the tasks that belong here, and restart them as the Supervisor decides."""
    chosen = network_of(request.plan)
    # Before the run gets a directory: a port that is in use means that nothing was started.
    with HeldPorts() as ports:
        if chosen == "host":
            ports.hold(ports_of(request.plan, request.tasks))
        with request.directory() as files, locked(files, [task.task for task in request.tasks], request.say) as locks:
            request.write_down(files, shared=True)
            with request.screen as screen:
                here = LocalRun(
                    request.plan,
                    request.tasks,
                    files,
                    screen,
                    network=chosen,
                    ports=ports,
                    began=request.began,
                    locks=locks,
                    key=request.key,
                )
                outcome = here.run(request.headline)
    return replace(outcome, way_out=_WAY_OUT if here.is_closed else "")


def network(plan: Plan, section: BaseModel | None) -> str:  # noqa: ARG001
    """Return what a private network will be, before it is tried."""
    return "" if network_of(plan) == "host" else f"{expected()}; launcher check tries it"


def network_of(plan: Plan) -> Literal["private", "host"]:
    """Return the network that the tasks run in."""
    # Addresses that are written mean the network that these addresses are in; one training task listens nowhere.
    written = any(job.addresses for _, job in plan.spec.cluster.items())
    return "host" if written or not plan.cluster else plan.spec.run.network
