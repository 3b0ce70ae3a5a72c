"""A run's network: nobody from outside reaches a private one, and whoever reaches another one does no harm."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.jobs import LOOK_EVERY
from tests.support.processes import task_process
from tests.support.workplace import Workplace, read_until

ARGS = {"epochs": 40, "report_every": 5}
FORMED = "Epoch: 0005"


def plan(place: Workplace) -> dict[str, Any]:
    """Return plan.json of the run that has just started, once it is there."""
    path = place.directory / "runs" / "latest" / "plan.json"
    while not path.exists():
        time.sleep(LOOK_EVERY)
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def ports(place: Workplace) -> list[int]:
    """Return every port of the run's tasks and of its rendezvous."""
    there = plan(place)
    addresses = [task["address"] for task in there["tasks"]] + [there["rendezvous"]]
    return [int(address.rpartition(":")[2]) for address in addresses]


def listening(pid: int) -> set[int]:
    """Return the ports that are listened at in the network of this process."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text() + Path(f"/proc/{pid}/net/tcp6").read_text()
    cells = [line.split() for line in lines.splitlines()]
    return {int(cell[1].rpartition(":")[2], 16) for cell in cells if cell[3] == "0A"}


def answers(port: int) -> bool:
    """Whether anybody listens at the port, on any address of this host."""
    hosts = {"127.0.0.1", socket.gethostbyname(socket.gethostname())}
    for host in hosts:
        with suppress(ConnectionRefusedError), socket.create_connection((host, port), timeout=2):
            return True
    return False


def namespaces_are_granted() -> bool:
    """Whether the kernel lets this user have a network of their own, as somebody else's program finds out."""
    if (unshare := shutil.which("unshare")) is None:
        return False
    user = ["--map-root-user"] if os.geteuid() else []
    return subprocess.run([unshare, "--net", *user, "true"], check=False, capture_output=True).returncode == 0


def private(place: Workplace, **content: Any) -> tuple[subprocess.Popen[str], str]:
    """Start a run in a network of its own and hold it in its training; return it with what it printed."""
    hold = place.hold
    place.write(**{"job": "holding.py", "args": ARGS, "run": {"network": "private"}} | content)
    launcher = place.start("run")
    seen = read_until(launcher, FORMED)
    hold.touch()
    if fell_back := [line for line in seen.splitlines() if "open to this host's network" in line]:
        assert not namespaces_are_granted(), fell_back[0]
        pytest.skip(fell_back[0])
    return launcher, seen


def test_two_private_runs_use_the_same_ports_at_once_which_answer_inside_and_not_from_outside(tmp_path: Path) -> None:
    both = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        place = Workplace(tmp_path / name)
        both.append((place, *private(place, cluster={"worker": {"tasks": 2, "port": 2222}})))
    for place, launcher, _ in both:
        assert {2222, 2223} <= set(ports(place)) <= listening(task_process(launcher, "worker:0").pid)
        assert not [port for port in ports(place) if answers(port)]
    ran = []
    for place, launcher, seen in both:
        place.hold.unlink()
        ran.append(place.finish(launcher, seen))
    assert [there.code for there in ran] == [0, 0], ran
    assert ran[0].metrics == ran[1].metrics


# Strangers at the rendezvous, and a proxy for downloads


def chatter(port: int, over: threading.Event) -> None:
    """Say to the rendezvous whatever it should not mind, again and again."""
    said = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS handshake
        b"GET / HTTP/1.1\r\nHost: worker\r\n\r\n",
        b'{"task": "worker:1", "token": "guess"}\n',  # a wrong token
        b'{"task": "worker:1", "tok',  # half a message
        b"[" * 100_000 + b"\n",
        b"",
    ]
    kept: list[socket.socket] = []
    while not over.wait(0.01):
        with suppress(OSError):
            stranger = socket.create_connection(("127.0.0.1", port), timeout=1)
            stranger.sendall(said[len(kept) % len(said)])
            kept.append(stranger)
        if len(kept) > 300:
            kept.pop(0).close()
    for stranger in kept:
        stranger.close()


@contextmanager
def strangers(port: int) -> Iterator[None]:
    over = threading.Event()
    threads = [threading.Thread(target=chatter, args=(port, over)) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield
    over.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A proxy that the environment names for every address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"http://127.0.0.1:{server.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, where)
            monkeypatch.setenv(name.upper(), where)
        for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
        server.settimeout(0)
        yield server


@pytest.mark.parametrize(("mode", "cluster"), [("sync", {"worker": 2}), ("async", {"worker": 1, "ps": 1})])
def test_strangers_at_the_rendezvous_neither_stop_nor_join_a_run_and_a_proxy_gets_nothing_of_it(
    workplace: Workplace, proxy: socket.socket, mode: str, cluster: dict[str, int]
) -> None:
    args = {"epochs": 100, "report_every": 5}
    workplace.write(mode=mode, args=args, cluster=cluster, run={"network": "host", "restarts": 0})
    launcher = workplace.start("run")
    rendezvous = int(plan(workplace)["rendezvous"].rpartition(":")[2])
    with strangers(rendezvous):
        ran = workplace.finish(launcher, read_until(launcher, FORMED))
    assert ran.code == 0, ran.output
    assert ran.result["steps"] == 100 * 17
    assert (ran.result["attempts"], ran.result["left_out"]) == (1, [])
    with pytest.raises(BlockingIOError):
        proxy.accept()
