"""A private network's way out: what is outside is reached, what is inside is not, and nothing is left of it."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.contract.task import Task
from launcher.engines.local.network import programs, way_out
from launcher.engines.local.network.settled import Network
from launcher.engines.local.process import Processes
from tests.support.outside import outward_address
from tests.support.processes import all_gone, network_of
from tests.unit.engines.local.conftest import spawner_of_this_process

ANSWER = b"from the host"
HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer((outward_address(), 0), _Answer) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield "http://{}:{}".format(*serving.server_address)
        serving.shutdown()
        thread.join()


@pytest.fixture(params=programs.PROGRAMS)
def program(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The only one of the programs that is found."""
    name: str = request.param
    path = shutil.which(name)
    if path is None or not Path("/dev/net/tun").exists():
        if os.environ.get("CI"):
            pytest.fail(f"{name} or /dev/net/tun is missing")
        pytest.skip(f"{name} or /dev/net/tun is missing")
    (tmp_path / name).symlink_to(path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return name


def network(processes: Processes) -> Network:
    """Return the network that it is; skips if the kernel grants none."""
    found = network_of(processes)
    if found.why:
        pytest.skip(found.why)
    return found


def test_what_is_outside_is_reached_and_what_is_inside_is_not(program: str, server: str) -> None:
    code = (
        "import socket, time, urllib.request\n"
        f"print(urllib.request.urlopen({server!r}, timeout=20).read().decode(), flush=True)\n"
        "held = socket.create_server(('', 0)); print(held.getsockname()[1], flush=True)\n"
        "time.sleep(600)\n"
    )
    read, write = os.pipe()
    with Processes("private") as processes, open(read) as output:  # noqa: PTH123
        assert network(processes) == Network(way=program)
        processes.start(Task.parse("worker:0"), [sys.executable, "-c", code], {}, write)
        assert output.readline().strip() == ANSWER.decode()
        port = int(output.readline())
        for host in ("127.0.0.1", outward_address()):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, port), timeout=5)
    os.close(write)


@pytest.mark.parametrize("victim", ["launcher", "spawner"])
def test_nothing_is_left_of_it_whoever_dies(program: str, victim: str) -> None:
    before = {name for _, name in socket.if_nameindex()}
    processes = Processes("private")
    assert network(processes).way == program
    spawner = spawner_of_this_process()
    children = [child for child in spawner.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    assert program in {Path(child.cmdline()[0]).name.partition(".")[0] for child in children}
    if victim == "launcher":
        processes.connection.close()  # as its end closes it
    else:
        spawner.kill()
    assert all_gone([spawner])
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        time.sleep(0.01)
    processes.connection.close()
    assert {name for _, name in socket.if_nameindex()} == before


def test_without_a_program_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Processes("private") as processes:
        assert network(processes) == Network(closed=way_out.NOT_INSTALLED)


def test_a_program_that_fails_is_named_with_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "pasta"
    broken.write_text("#!/bin/sh\necho no tap device\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with Processes("private") as processes:
        assert network(processes) == Network(closed="pasta: no tap device")


@pytest.mark.parametrize(
    ("routes", "chosen"),
    [
        ([], "198.18.0.0/24"),
        (["eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000"], "198.18.0.0/24"),  # the default route
        (["tun0\t000012C6\t00000000\t0001\t0\t0\t0\t0000FFFF"], "198.19.0.0/24"),  # 198.18.0.0/16
        (["tun0\t000012C6\t00000000\t0001\t0\t0\t0\t0000FEFF"], None),  # 198.18.0.0/15
    ],
)
def test_the_subnet_overlaps_no_route_of_the_host(routes: list[str], chosen: str | None) -> None:
    found = way_out.free_subnet(HEADER + "".join(f"{route}\n" for route in routes), 0)
    assert (str(found) if found else None) == chosen
