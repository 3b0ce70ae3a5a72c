"""The network that the tasks of a run get, and what is said of it: by ``run``, ``plan``, ``check`` and ``doctor``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from typing import Literal

from launcher.engines.local.network.namespace import enter_private_network
from launcher.engines.local.network.way_out import NOT_INSTALLED, Led, WayOut, ways

_LEAVE = "--set run.network=host, if the job loads or reports anything"


@dataclass(frozen=True)
class Network:
    """A network as it has come about."""

    name: Literal["private", "host"] = "private"
    why: str = ""  # it is another one than was asked for
    way: str = ""  # what carries connections out of a private one
    closed: str = ""  # why nothing does

    @property
    def is_as_asked(self) -> bool:
        """Whether it is the network that was asked for, and lets out what is to go out."""
        return not self.why and not self.closed

    @property
    def state(self) -> str:
        """What it is, in a sentence."""
        if self.why:
            return f"the tasks' ports are open to this host's network: {self.why}"
        if self.name == "host":
            return "the tasks are in this host's network"
        if self.closed:
            return f"the tasks' network reaches nothing outside: {self.closed}"
        return f"the tasks' network is their own, and lets connections out through {self.way}"

    @property
    def remedy(self) -> str:
        """What to do about it; empty if there is no need."""
        if self.closed:
            return f"{'install one' if self.closed.startswith(NOT_INSTALLED) else 'mend that'}, or {_LEAVE}"
        return "allow user namespaces, or keep a firewall" if self.why else ""

    def __str__(self) -> str:
        return f"{self.state}; {self.remedy}" if self.remedy else self.state


def expected() -> Network:
    """Return what a private network will be, as far as it is known before it is tried."""
    way = next(iter(ways()), "")
    return Network(way=way, closed="" if way else NOT_INSTALLED)


def settle(asked: str) -> tuple[Network, WayOut | None]:
    """Enter the network that was asked for; return it with its way out, if it has one."""
    if asked != "private":
        return Network("host"), None
    way_out = WayOut()
    if why := enter_private_network():
        way_out.abandon()
        return Network("host", why), None
    network = led(Network(), way_out.open(user_namespace=os.getuid() != 0))
    return network, None if network.closed else way_out


def led(network: Network, out: Led) -> Network:
    """Return the network as it is with what its way out has become."""
    return replace(network, way=out.way, closed=out.closed)


if __name__ == "__main__":  # the trial of ``check`` and ``doctor``
    os.write(1, json.dumps(asdict(settle("private")[0])).encode())
