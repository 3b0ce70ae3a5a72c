"""Two hosts for real: network namespaces joined by a wire, each with its own launcher, its own disk, the same file.

Nothing but the file is shared; there is no container.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.jobs import ARGS, IN_THE_MIDDLE, RUN, STEPS
from tests.support.processes import survivors, task_process
from tests.support.workplace import Ran, Workplace, read_until

NAMES = ("node-a", "node-b")
SYNC: Mapping[str, Any] = {"worker": ["node-a:2222", "node-b:2222"]}
ASYNC: Mapping[str, Any] = {
    "chief": ["node-a:2221"],
    "worker": ["node-a:2222", "node-b:2222"],
    "ps": ["node-b:2223"],
}
numbers = itertools.count()


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def why_no_hosts() -> str:
    """Why this machine cannot play two hosts; empty if it can. If tests must not skip, this is a failure."""
    if os.geteuid():
        return "network namespaces with names need root"
    if not shutil.which("ip"):
        return "there is no ip command (Debian: iproute2)"
    return ""


class Host(Workplace):
    """One of the two: a namespace and a directory of its own."""

    def __init__(self, namespace: str, name: str, directory: Path) -> None:
        super().__init__(directory)
        self.name = name
        self.command = ["ip", "netns", "exec", namespace, *self.command]


class Hosts:
    """Two hosts and the wire between them."""

    def __init__(self, directory: Path) -> None:
        number = f"{os.getpid()}-{next(numbers)}"
        self.namespaces = [f"launcher-{number}-{letter}" for letter in "ab"]
        self.wires = [f"l{number}{letter}" for letter in "ab"]
        self.hosts: list[Host] = []
        for namespace, name in zip(self.namespaces, NAMES, strict=True):
            (directory / name).mkdir()
            self.hosts.append(Host(namespace, name, directory / name))

    def __enter__(self) -> Self:
        for namespace in self.namespaces:
            ip("netns", "add", namespace)
            names = Path("/etc/netns") / namespace  # what `ip netns exec` mounts over /etc
            names.mkdir(parents=True)
            (names / "hosts").write_text("127.0.0.1 localhost\n10.213.0.1 node-a\n10.213.0.2 node-b\n")
        first, second = zip(self.namespaces, self.wires, strict=True)
        ip("link", "add", first[1], "netns", first[0], "type", "veth", "peer", "name", second[1], "netns", second[0])
        for address, (namespace, wire) in enumerate((first, second), start=1):
            ip("-n", namespace, "addr", "add", f"10.213.0.{address}/24", "dev", wire)
            ip("-n", namespace, "link", "set", wire, "up")
            ip("-n", namespace, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.end()
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "del", namespace], check=False)
            shutil.rmtree(Path("/etc/netns") / namespace, ignore_errors=True)

    def write(self, **content: Any) -> None:
        """Write the same cluster file on both."""
        for host in self.hosts:
            host.write(**{"args": ARGS, "run": RUN} | content)

    def start(self) -> list[subprocess.Popen[str]]:
        return [host.start("run", "--host", host.name) for host in self.hosts]

    def finish(self, processes: list[subprocess.Popen[str]], *seen: str) -> list[Ran]:
        said = [*seen, "", ""]
        return [
            host.finish(process, said[i]) for i, (host, process) in enumerate(zip(self.hosts, processes, strict=True))
        ]


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    if why := why_no_hosts():
        assert not os.environ.get("CI"), why
        pytest.skip(why)
    with Hosts(tmp_path) as there:
        yield there


def test_the_host_without_the_leader_says_where_the_results_are(hosts: Hosts) -> None:
    hosts.write(mode="async", cluster=ASYNC, args={"epochs": 60})
    first, second = hosts.finish(hosts.start())
    assert (first.code, second.code) == (0, 0), first.output + second.output
    assert first.metrics["W"] == pytest.approx(0.2513, abs=5e-3)
    assert "chief:0" in second.output
    assert not (second.files / "result.json").exists()
    assert not (second.files / "checkpoints").exists()


def test_a_cluster_on_two_hosts_trains_what_one_machine_does_though_both_resume_from_the_checkpoint_of_one_of_them(
    hosts: Hosts, undisturbed: Ran
) -> None:
    hosts.write(cluster=SYNC)
    launchers = hosts.start()
    seen = read_until(launchers[0], IN_THE_MIDDLE)
    task_process(launchers[1], "worker:1").kill()
    first, second = hosts.finish(launchers, seen)
    assert (first.code, second.code) == (0, 0), first.output + second.output
    assert "worker:1: killed by SIGKILL; attempt 2" in second.output
    assert "resumed at step" in first.output
    assert (first.result["attempts"], first.result["steps"]) == (2, STEPS)
    assert first.metrics == undisturbed.metrics
    assert list((second.files / "checkpoints").glob("step-*")), "the leader's checkpoint did not come over the wire"


def test_a_job_that_fails_on_one_host_is_named_on_both(hosts: Hosts) -> None:
    for host in hosts.hosts:
        (host.directory / "train.py").write_text(FAILS_ON_B)
    hosts.write(job="train.py", args={}, cluster=SYNC)
    launchers = hosts.start()
    first, second = hosts.finish(launchers)
    assert (first.code, second.code) == (1, 1), first.output + second.output
    assert "worker:1 failed: ValueError: no such thing on node-b" in first.output
    assert "ValueError: no such thing on node-b" in second.output
    assert [survivors(host.directory) for host in hosts.hosts] == [[], []]


FAILS_ON_B = """
import json, os
import tensorflow as tf
from launcher.runtime.job import Job

class Fails(Job):
    steps = 100

    def build(self):
        self.v = tf.Variable(0.0, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1:
            raise ValueError("no such thing on node-b")

    def dataset(self, shard):
        return tf.data.Dataset.from_tensors(1.0).repeat()

    def train_step(self, batch):
        self.v.assign_add(self.sum_over_replicas(batch))
        return {}

    def evaluate(self):
        return {"v": self.v}
"""
