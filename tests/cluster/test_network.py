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

from tests.cluster.conftest import LOOK_EVERY, Workplace, read_until, task_process

ARGS = {"epochs": 40, "report_every": 5}
FORMED = "Epoch: 0005"
LOOKUP = """
import socket
from jobs.linear_regression.job import LinearRegression

class Downloads(LinearRegression):
    def evaluate(self):
        socket.create_connection(("192.0.2.1", 443), timeout=5)
"""


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


def test_the_ports_of_a_private_run_answer_inside_and_not_from_outside(workplace: Workplace) -> None:
    launcher, seen = private(workplace)
    inside = listening(task_process(launcher, "worker:0").pid)
    assert inside.issuperset(ports(workplace))
    assert not [port for port in ports(workplace) if answers(port)]
    workplace.hold.unlink()
    ran = workplace.finish(launcher, seen)
    assert ran.code == 0, ran.output


def test_two_private_runs_use_the_same_ports_at_once(tmp_path: Path) -> None:
    both = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        place = Workplace(tmp_path / name)
        both.append((place, *private(place, cluster={"worker": {"tasks": 2, "port": 2222}})))
    first, second = (set(ports(place)) for place, *_ in both)
    assert first & second >= {2222, 2223}
    for place, launcher, seen in both:
        place.hold.unlink()
        ran = place.finish(launcher, seen)
        assert ran.code == 0, ran.output


def test_a_job_that_needs_the_outside_gets_the_hint_in_a_private_run(workplace: Workplace) -> None:
    (workplace.directory / "train.py").write_text(LOOKUP)
    ran = workplace.run(job="train.py", args=ARGS, cluster={"worker": 1}, run={"restarts": 0})
    assert ran.code == 1
    assert "OSError: [Errno 101] Network is unreachable" in ran.output
    assert "--set run.network=host lets the job out" in ran.output


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_proxy_for_downloads_gets_nothing_of_the_cluster(
    workplace: Workplace, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        where = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, where)
            monkeypatch.setenv(name.upper(), where)
        for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
            monkeypatch.delenv(name, raising=False)
        ran = workplace.run(mode=mode, args=ARGS, cluster={"worker": 2, "ps": 1}, run={"network": "host"})
        assert ran.code == 0, ran.output
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()


# Strangers at the rendezvous


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


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_strangers_at_the_rendezvous_neither_stop_nor_join_a_run(workplace: Workplace, mode: str) -> None:
    args = {"epochs": 200, "report_every": 5}
    workplace.write(mode=mode, args=args, cluster={"worker": 2, "ps": 1}, run={"network": "host", "restarts": 0})
    launcher = workplace.start("run")
    rendezvous = int(plan(workplace)["rendezvous"].rpartition(":")[2])
    with strangers(rendezvous):
        ran = workplace.finish(launcher, read_until(launcher, FORMED))
    assert ran.code == 0, ran.output
    assert ran.result["steps"] == 200 * 17
    assert (ran.result["attempts"], ran.result["left_out"]) == (1, [])
