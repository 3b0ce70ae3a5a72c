"""Ports of this host, held until the tasks that they are for bind them."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Self

from launcher.errors import UsageError
from launcher.host.ports import who_holds
from launcher.plan.plan import Plan, TaskPlan


class HeldPorts:
    """Ports of this host that are held for tasks, which share them (SO_REUSEPORT), until the end of the block.

    A port that was merely found free can be taken by anyone until TensorFlow binds it (tensorflow#21492). A socket that
    is bound and does not listen takes no connections, so holding does not disturb.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._ports: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def hold(self, ports: Iterable[int]) -> None:
        """Hold these as well, all of them or, if one is in use (UsageError), none that was not held before."""
        new = [port for port in dict.fromkeys(ports) if port not in self._ports]
        with ExitStack() as stack:
            for port in new:
                if why := who_holds(port):
                    remedy = "end it, or write another port in the cluster file"
                    raise UsageError(f"port {port} is not free: {why}; {remedy}")
                holder = stack.enter_context(socket.socket())
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                holder.bind(("", port))  # TensorFlow's servers listen on every interface
            self._stack.push(stack.pop_all())
        self._ports.update(new)


def ports_of(plan: Plan, tasks: Iterable[TaskPlan]) -> list[int]:
    """Return the ports that these tasks listen on, the rendezvous included if the leader is among them."""
    here = [task for task in tasks if task.address]
    addresses = [task.address for task in here]
    if any(task.task == plan.leader for task in here):
        addresses.append(plan.rendezvous)
    return [int(address.rpartition(":")[2]) for address in addresses if address]
