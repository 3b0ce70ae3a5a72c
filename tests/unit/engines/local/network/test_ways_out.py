"""Each way out of a private network, on a machine of its own: a namespace with a wire to another machine."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

from launcher.engines.local.network import programs, veth
from launcher.engines.local.network.way_out import NOT_INSTALLED
from tests.support.outside import ANSWER, Other, fetching, ip, namespace, need, other_machine
from tests.support.processes import all_gone

PROGRAMS = Path(__file__).parents[1] / "programs"
ROOT = Path(__file__).parents[5]
NEEDS = {"pasta": ("pasta",), "slirp4netns": ("slirp4netns",), veth.NAME: ("ip", "nft")}
NOBODY = 65534
PORT = 7
# A server at each address that this machine has, and one at its loopback alone.
SERVERS = f"""
import socket, time
everywhere, loopback = socket.create_server(("", {PORT})), socket.create_server(("127.0.0.1", {PORT + 1}))
print("ready", flush=True)
time.sleep(600)
"""
# What a process in the network tries: to connect to an address, and to listen.
TRIES = f"""
import json, socket, sys
def gateway():
    rows = [line.split() for line in open("/proc/net/route")]
    return socket.inet_ntoa(bytes.fromhex(next(row[2] for row in rows if row[1] == "0" * 8))[::-1])
def reaches(host, port):
    try:
        socket.create_connection((host, port), timeout=2).close()
        return True
    except OSError:
        return False
def own():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]
held = socket.create_server(("", 0))
print(json.dumps([reaches(gateway(), {PORT + 1}), own(), held.getsockname()[1]]), flush=True)
sys.stdin.read()
"""


class Machine:
    """A namespace that plays this machine."""

    def __init__(self, name: str, outside: Other, path: Path) -> None:
        self.name, self.outside, self.path = name, outside, path

    def offer(self, *commands: str) -> None:
        """Let these commands, and no others, be found."""
        for command in commands:
            (self.path / command).symlink_to(Path(shutil.which(command) or ""))

    @contextmanager
    def running(self, *command: str, path: str = "", before: str = "") -> Iterator[subprocess.Popen[str]]:
        """Start a Python program on it, with what it prints; it is killed afterwards."""
        python = [sys.executable, *command]
        words = ["sh", "-c", f'{before}\nPATH={path or os.environ["PATH"]} exec "$@"', "sh", *python]
        with subprocess.Popen(
            ["ip", "netns", "exec", self.name, *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def inside(self, code: str, user: int = 0, before: str = "") -> Any:
        """Run code in a private network of this machine."""
        return self.running(str(PROGRAMS / "way_out.py"), str(user), code, path=str(self.path), before=before)

    def set(self, key: str, value: str) -> None:
        command = ["ip", "netns", "exec", self.name, "sh", "-c", f"echo {value} > /proc/sys/{key}"]
        subprocess.run(command, check=True)

    def nft(self, *words: str) -> str:
        command = ["ip", "netns", "exec", self.name, "nft", *words]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def wait_until_bare(self) -> None:
        """Wait until nothing of a run is left: no table, no interface."""
        while self.nft("list", "tables") or "launcher" in self.links():
            time.sleep(0.01)

    def links(self) -> str:
        command = ["ip", "-n", self.name, "-brief", "link"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def reaches(namespace: str, host: str, port: int) -> bool:
    """Whether a process of that machine can connect there."""
    code = f"import socket; socket.create_connection(({host!r}, {port}), timeout=1)"
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", code]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def machine() -> Iterator[Machine]:
    with TemporaryDirectory() as directory, namespace() as name, other_machine(name) as outside:
        ip("-n", name, "route", "add", "default", "via", outside.server[0])
        settings = Path("/etc/netns") / name  # what `ip netns exec` mounts over /etc
        settings.mkdir(parents=True)
        (settings / "resolv.conf").write_text("nameserver 127.0.0.53\n")
        Path(directory).chmod(0o755)  # other users look into it; pytest's own are private
        machine = Machine(name, outside, Path(directory))
        machine.set("net/ipv4/ip_forward", "1")
        try:
            yield machine
        finally:
            shutil.rmtree(settings)


@pytest.fixture(params=NEEDS)
def way(request: pytest.FixtureRequest, machine: Machine) -> str:
    """The only way that there is."""
    name: str = request.param
    need(*NEEDS[name])
    machine.offer(*NEEDS[name])
    return name


def test_each_way_reaches_another_machine(machine: Machine, way: str) -> None:
    with machine.inside(fetching(machine.outside)) as process:
        assert json.loads(line(process)) == {"name": "private", "why": "", "way": way, "closed": ""}
        assert line(process) == ANSWER


@pytest.mark.parametrize("name", ["there.test", "long.test"])
def test_names_are_those_of_the_name_server_on_the_hosts_loopback(machine: Machine, way: str, name: str) -> None:
    code = f"import socket; print(socket.gethostbyname({name!r}), flush=True)"
    with machine.running(str(PROGRAMS / "name_server.py"), machine.outside.server[0]) as server:
        assert line(server) == "ready"
        with machine.inside(code) as process:
            assert json.loads(line(process))["way"] == way
            assert line(process) == machine.outside.server[0]


def test_nobody_outside_reaches_what_listens_inside_and_the_gateway_is_not_the_hosts_loopback(
    machine: Machine, way: str
) -> None:
    with machine.running("-c", SERVERS) as servers, machine.inside(TRIES) as process:
        assert line(servers) == "ready"
        assert json.loads(line(process))["way"] == way
        reaches_loopback, address, port = json.loads(line(process))
        assert not reaches_loopback
        assert reaches(machine.name, "127.0.0.1", PORT + 1)
        ip("-n", machine.outside.namespace, "route", "add", "198.18.0.0/15", "via", "198.51.100.1")
        assert reaches(machine.outside.namespace, "198.51.100.1", PORT)
        for host in ("127.0.0.1", "198.51.100.1", address):
            assert not reaches(machine.name, host, port), host
            assert not reaches(machine.outside.namespace, host, port), host


def below(launcher: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """Return the processes that a launcher started: the spawner, the keeper, what carries the connections."""
    (spawner,) = psutil.Process(launcher.pid).children()
    (keeper,) = (child for child in spawner.children() if child.cmdline() == spawner.cmdline())
    (carrier,) = keeper.children()
    return {"spawner": spawner, "keeper": keeper, "carrier": carrier}


@pytest.mark.parametrize("victim", ["launcher", "spawner"])
def test_nothing_is_left_on_the_host_whoever_is_killed(machine: Machine, way: str, victim: str) -> None:
    with machine.running(str(PROGRAMS / "private_run.py"), path=str(machine.path)) as launcher:
        assert json.loads(line(launcher))["way"] == way
        there = {"task": psutil.Process(int(line(launcher))), **below(launcher)}
        if victim == "launcher":
            launcher.kill()
        else:
            there["spawner"].kill()
        launcher.wait()
        assert all_gone(list(there.values()))
        machine.wait_until_bare()


def test_a_keeper_that_is_killed_takes_the_way_with_it_at_the_end_of_the_run(machine: Machine, way: str) -> None:
    with machine.running(str(PROGRAMS / "private_run.py"), path=str(machine.path)) as launcher:
        assert json.loads(line(launcher))["way"] == way
        assert line(launcher).isdecimal()
        there = below(launcher)
        there["keeper"].kill()
        assert json.loads(line(launcher)) == {"closed": "the process that keeps its way out has ended"}
        launcher.kill()
        assert all_gone(list(there.values()))
        machine.wait_until_bare()


# What does not work is said


@pytest.fixture
def pair(machine: Machine) -> Machine:
    """A machine that has nothing but the commands for a pair of interfaces."""
    need(*NEEDS[veth.NAME])
    machine.offer(*NEEDS[veth.NAME])
    return machine


def refused(machine: Machine, user: int = 0, before: str = "") -> str:
    with machine.inside("", user, before) as process:
        said = json.loads(line(process))
    assert (said["name"], said["why"], said["way"]) == ("private", "", "")
    machine.wait_until_bare()
    return str(said["closed"])


def test_a_host_that_forwards_nothing_is_left_so(pair: Machine) -> None:
    pair.set("net/ipv4/ip_forward", "0")
    said = refused(pair)
    assert said == f"{NOT_INSTALLED}; {veth.NAME}: this host forwards no packets (net.ipv4.ip_forward is 0)"


def test_a_firewall_that_lets_nothing_through_is_found_out(pair: Machine) -> None:
    pair.nft("add table inet mine; add chain inet mine closed { type filter hook forward priority 5; policy drop; }")
    before = pair.nft("list", "ruleset")
    with pair.inside("") as process:
        said = json.loads(line(process))["closed"]
    assert said == f"{NOT_INSTALLED}; {veth.NAME}: this host's firewall or routes let nothing of it through"
    while pair.nft("list", "ruleset") != before:
        time.sleep(0.01)


def test_a_user_other_than_root_has_no_pair_of_interfaces(pair: Machine) -> None:
    assert refused(pair, NOBODY) == NOT_INSTALLED


# As another user than root


@pytest.fixture
def tun(tmp_path: Path) -> str:
    """A shell's line that makes /dev/net/tun a file of such a mode, in its mounts alone."""
    os.mknod(tmp_path / "tun", 0o666 | stat.S_IFCHR, os.makedev(10, 200))
    return f"chmod {{mode}} {tmp_path}/tun; mount --bind {tmp_path}/tun /dev/net/tun"


@pytest.mark.parametrize("program", programs.PROGRAMS)
def test_a_user_other_than_root_reaches_another_machine(machine: Machine, tun: str, program: str) -> None:
    need(program)
    machine.offer(program)
    with machine.inside(fetching(machine.outside), NOBODY, tun.format(mode=666)) as process:
        assert json.loads(line(process)) == {"name": "private", "why": "", "way": program, "closed": ""}
        assert line(process) == ANSWER


@pytest.mark.parametrize("program", programs.PROGRAMS)
def test_a_device_that_the_user_may_not_open_is_said(machine: Machine, tun: str, program: str) -> None:
    need(program)
    machine.offer(program)
    said = refused(machine, NOBODY, tun.format(mode=600))
    assert said == f"{program}: /dev/net/tun cannot be opened: Permission denied"
