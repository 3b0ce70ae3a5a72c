"""Two launchers of one cluster on this machine: with a key, without one, and with keys that differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.host.ports import free_ports
from tests.support.workplace import Ran, Workplace

pytestmark = pytest.mark.usefixtures("warm")


def run_both(directory: Path, first_key: str, second_key: str) -> tuple[Ran, Ran]:
    """Run a worker with each launcher; an empty key is none."""
    places = []
    for name, key in (("a", first_key), ("b", second_key)):
        (directory / name).mkdir()
        places.append(Workplace(directory / name, LAUNCHER_KEY=key))
    ports = free_ports(2)
    for place in places:
        addresses = [f"127.0.0.1:{port}" for port in sorted(ports)]
        place.write(job="hello", args={}, cluster={"worker": addresses}, run={"start_timeout": "30s"})
    launchers = [place.start("run", "--task", f"worker:{index}") for index, place in enumerate(places)]
    first, second = (place.finish(launcher) for place, launcher in zip(places, launchers, strict=True))
    return first, second


@pytest.mark.parametrize("key", ["", "k" * 64], ids=["no key", "a key"])
def test_two_launchers_with_the_same_key_or_none_train_and_without_one_they_say_who_could_join(
    tmp_path: Path, key: str
) -> None:
    for ran in run_both(tmp_path, key, key):
        assert ran.code == 0, ran.output
        assert ("no key: whoever can read the cluster file" in ran.output) is (not key)


def test_two_launchers_whose_keys_differ_say_so_on_both_sides_and_use_up_no_restart(tmp_path: Path) -> None:
    first, second = run_both(tmp_path, "k" * 64, "q" * 64)
    assert (first.code, second.code) == (3, 1), first.output + second.output
    assert "worker:1 (refused: worker:1 has another key than worker:0)" in first.output
    assert "has another key, and belongs to another run" in second.output
    assert first.result["attempts"] == 1
