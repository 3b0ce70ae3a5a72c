"""How a private network's way out is chosen, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.engines.local.network import way_out
from launcher.engines.local.network.settled import Network
from launcher.engines.local.process import Processes
from tests.support.processes import network_of

HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"


def network(processes: Processes) -> Network:
    """Return the network that it is; skips if the kernel grants none."""
    found = network_of(processes)
    if found.why:
        pytest.skip(found.why)
    return found


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
