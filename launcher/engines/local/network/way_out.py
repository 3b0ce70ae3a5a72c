"""The way out of a run's private network: what carries its connections to the host's network, and who keeps that."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import NamedTuple

from launcher.engines.local.network import name_servers, programs, veth
from launcher.engines.local.network.programs import NoWayError, Spaces

NOT_INSTALLED = "neither pasta nor slirp4netns is installed (Debian, Ubuntu: apt install passt, or slirp4netns)"
_SUBNETS = list(IPv4Network("198.18.0.0/15").subnets(new_prefix=24))  # RFC 2544: no host of the Internet is there
_LONGEST = 1 << 16  # bytes of a message
_MOST_FILES = 64  # with a message
_KEEPER_ENDED = "the process that keeps its way out has ended"
Start = Callable[[int, IPv4Network, Spaces], subprocess.Popen[bytes]]


def ways() -> dict[str, Start]:
    """Return the ways that this machine has for this user, by name; the first that works is taken.

    The programs come first: they forward nothing in the kernel, and need nothing of the host's firewall.
    """
    found: dict[str, Start] = {
        name: partial(programs.start, path) for name in programs.PROGRAMS if (path := shutil.which(name))
    }
    return found | ({veth.NAME: veth.start} if veth.is_possible() else {})


class Led(NamedTuple):
    """What carries the connections, and why nothing does; one of both is empty."""

    way: str
    closed: str


class WayOut:
    """Opens the network of this process to the outside. Made before the process enters that network.

    A child that stays in the host's network, the keeper, starts what carries the connections, and ends it when this
    process has ended, however.
    """

    def __init__(self) -> None:
        self.connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            if os.fork() == 0:
                _be_keeper(os.getppid(), theirs)

    def open(self, *, user_namespace: bool) -> Led:
        """Open it, as soon as this process is in its network; ``user_namespace``: and in one of these, too."""
        try:
            relayed = name_servers.listeners()
        except OSError as error:
            self.abandon()
            return Led("", f"its names could not be resolved: {error}")
        with ExitStack() as stack:
            listening = [stack.enter_context(one) for _, *both in relayed for one in both]
            asked = {"user_namespace": user_namespace, "servers": [server for server, *_ in relayed]}
            socket.send_fds(self.connection, [json.dumps(asked).encode()], [one.fileno() for one in listening])
        return self.heard()

    def heard(self) -> Led:
        """Return what the keeper says next: whether the way is open, or that it is no longer."""
        said = self.connection.recv(_LONGEST)
        return Led(*json.loads(said)) if said else Led("", _KEEPER_ENDED)

    def abandon(self) -> None:
        """Open nothing: this process stays in the host's network, or has no other."""
        self.connection.close()


def _be_keeper(process: int, connection: socket.socket) -> None:
    try:
        _let_go_of_files(connection.fileno())
        _keep(process, connection)
    except (OSError, subprocess.SubprocessError) as error:  # nobody else would hear of it
        _tell(connection, Led("", str(error)))
    finally:
        os._exit(0)


def _let_go_of_files(kept: int) -> None:
    """Close all but one: whoever reads what the launcher prints waits until everybody has closed it."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        os.dup2(nothing, number)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _keep(process: int, connection: socket.socket) -> None:
    theirs = os.pidfd_open(process)
    asked, files, *_ = socket.recv_fds(connection, _LONGEST, _MOST_FILES)
    if not asked:  # the network was abandoned
        return
    request = json.loads(asked)
    name, running, why = _first_that_works(process, user_namespace=request["user_namespace"])
    if running is None:
        _tell(connection, Led("", why))
        return
    name_servers.relay(request["servers"], files)
    _tell(connection, Led(name, ""))
    ended, *_ = select.select([theirs, os.pidfd_open(running.pid)], [], [])
    if theirs not in ended:
        _tell(connection, Led("", f"{name} has ended, {_how(running.wait())}"))
    running.kill()


def _tell(connection: socket.socket, led: Led) -> None:
    with suppress(OSError):  # nobody is there to hear it
        connection.send(json.dumps(led).encode())


def _how(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"with exit code {code}"


def _first_that_works(process: int, *, user_namespace: bool) -> tuple[str, subprocess.Popen[bytes] | None, str]:
    """Return the name of the way and the process that carries it; or why there is none."""
    subnet = free_subnet(Path("/proc/net/route").read_text(encoding="ascii"), process)
    if subnet is None:
        return "", None, "every subnet of 198.18.0.0/15 has a route of this host"
    # Open files, since programs that give up their capabilities may no longer open these links by name.
    kinds = ("net", "user") if user_namespace else ("net",)
    spaces = {kind: os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY) for kind in kinds}
    there = ways()
    whys = [] if there.keys() & {*programs.PROGRAMS} else [NOT_INSTALLED]
    for name, start in there.items():
        try:
            return name, start(process, subnet, spaces), ""
        except NoWayError as error:
            whys.append(f"{name}: {error}")
    return "", None, "; ".join(whys)


def free_subnet(routes: str, first: int) -> IPv4Network | None:
    """Return a subnet that no route of the host but the default one has a part of; ``routes`` is /proc/net/route."""
    rows = [line.split() for line in routes.splitlines()[1:]]
    taken = [IPv4Network((_address(row[1]), str(_address(row[7]).bit_count()))) for row in rows if row[7] != "0" * 8]
    turned = [_SUBNETS[(first + i) % len(_SUBNETS)] for i in range(len(_SUBNETS))]
    return next((subnet for subnet in turned if not any(map(subnet.overlaps, taken))), None)


def _address(word: str) -> int:
    return int.from_bytes(bytes.fromhex(word)[::-1], "big")
