"""A pair of interfaces with address translation: the way out that root has where no program is installed.

One end is the host's, the other the run's, and goes with its namespace. The rules are a table of their own, which
belongs to a running nft: the kernel removes it when that ends, however. Nothing else of the host is changed, so it must
forward packets already.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from ipaddress import IPv4Network
from pathlib import Path

from launcher.engines.local.network.programs import NoWayError, Spaces

NAME = "veth and NAT"
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_INSIDE = "eth0"
_READY = 3.0  # seconds until the host must have forwarded a packet
_PATIENCE = 10.0  # seconds for ip and nft
_LOOK_EVERY = 0.05  # seconds
_PROBED = ("203.0.113.1", 9)  # RFC 5737: no host is there; what the host forwards to it is counted, and dropped
_CLONE_NEWNET = 0x40000000
# What is begun outside does not come in, neither from the host itself nor from other machines.
_TABLE = """\
table inet %(name)s {
flags owner
counter probe { }
chain forward { type filter hook forward priority 0; oifname "%(name)s" ct state != { established, related } drop; }
chain output { type filter hook output priority 0; oifname "%(name)s" ct state != { established, related } drop; }
chain probed { type filter hook postrouting priority 99; ip saddr %(subnet)s %(probed)s counter name "probe" drop; }
chain translate { type nat hook postrouting priority 100; ip saddr %(subnet)s oifname != "%(name)s" masquerade; }
}"""


def is_possible() -> bool:
    """Whether this user may do it, with the commands that it needs."""
    return os.geteuid() == 0 and all(map(shutil.which, ("ip", "nft")))


def start(process: int, subnet: IPv4Network, spaces: Spaces) -> subprocess.Popen[bytes]:
    """Return the nft whose table carries the connections of that process's network; NoWayError if it does not."""
    if _FORWARD.read_text(encoding="ascii").strip() == "0":
        raise NoWayError("this host forwards no packets (net.ipv4.ip_forward is 0)")
    name, host, inside = f"launcher{process}", str(subnet[1]), str(subnet[2])
    _ip(f"link add {name} type veth peer name {_INSIDE} netns {process}")
    try:
        _ip(f"addr add {host}/{subnet.prefixlen} dev {name}", f"link set {name} up")
        up = (f"addr add {inside}/{subnet.prefixlen} dev {_INSIDE}", f"link set {_INSIDE} up")
        _ip(*up, f"route add default via {host}", space=spaces["net"])
        return _translating(name, subnet, spaces["net"])
    except (NoWayError, OSError, subprocess.SubprocessError):
        _ip(f"link del {name}")
        raise


def _ip(*lines: str, space: int | None = None) -> None:
    done = subprocess.run(
        ["ip", "-batch", "-"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
        preexec_fn=None if space is None else lambda: _enter(space),
    )
    if done.returncode:
        raise NoWayError(f"ip {lines[0]}: {done.stderr.strip().partition(chr(10))[0]}")


def _translating(name: str, subnet: IPv4Network, space: int) -> subprocess.Popen[bytes]:
    probed = "ip daddr {} udp dport {}".format(*_PROBED)
    rules = _TABLE % {"name": name, "subnet": subnet, "probed": probed}
    with tempfile.TemporaryFile() as said:
        # It ends with its standard input, so that it does not outlive this process.
        nft = subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT, bufsize=0)
        assert nft.stdin is not None
        nft.stdin.write(rules.replace("\n", ";").encode() + b"\n")  # a line is taken whole, or not at all
        if _forwards(nft, name, space):
            return nft
        nft.kill()
        nft.wait()
        said.seek(0)
        why = said.read().decode(errors="replace").strip().partition("\n")[0]
        raise NoWayError(f"nft: {why}" if why else "this host's firewall or routes let nothing of it through")


def _forwards(nft: subprocess.Popen[bytes], name: str, space: int) -> bool:
    """Try whether what leaves the network is forwarded by this host, as long as nft runs."""
    deadline = time.monotonic() + _READY
    while time.monotonic() < deadline and nft.poll() is None:
        _send_probe(space)
        if _is_counted(name):
            return True
        time.sleep(_LOOK_EVERY)
    return False


def _send_probe(space: int) -> None:
    child = os.fork()
    if child == 0:
        try:
            _enter(space)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.sendto(b"", _PROBED)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _is_counted(name: str) -> bool:
    command = ["nft", "list", "counter", "inet", name, "probe"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    return bool(re.search(r"packets [1-9]", done.stdout))


def _enter(space: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(space, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
