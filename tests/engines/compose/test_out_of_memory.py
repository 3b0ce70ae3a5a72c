"""Containers whose memory has a limit, and a task that takes more: the kernel really kills it, again and again."""

from __future__ import annotations

import pytest

from tests.engines.compose.conftest import Containers, docker
from tests.support.workplace import read_until

pytestmark = pytest.mark.timeout(600)  # it may build the image

LIMIT = "2g"
EATING = """
from jobs.linear_regression.job import LinearRegression

class Eating(LinearRegression):
    def evaluate(self):
        eaten = []
        while str(self.context.task) == "worker:1" and (self.directory / "eat").exists():
            eaten.append(bytearray(1 << 24))
        return super().evaluate()
"""


def test_a_task_whose_container_has_too_little_memory_ends_the_run_by_name_with_the_limit(
    containers: Containers,
) -> None:
    (containers.directory / "eating.py").write_text(EATING)
    args = {"epochs": 100_000, "report_every": 20}
    # Every attempt resumes at the same step, where memory runs out again. Enough for two imports on two busy cores.
    run = {"start_timeout": "30s", "checkpoint": {"every": "1000000 steps"}, "restarts": 9}
    containers.write(job="eating.py", args=args, run=run)
    process = containers.start("run", "--on", "compose")
    seen = read_until(process, "Epoch: 0020")
    docker("update", f"--memory={LIMIT}", f"--memory-swap={LIMIT}", containers.container("worker:1"))
    (containers.directory / "eat").touch()
    ran = containers.finish(process, seen)
    assert ran.code == 1, ran.output
    cause = ran.result["cause"]
    assert cause["task"] == "worker:1"
    assert (
        "when memory had run out (limit of the control group: 2.0 GiB), so most likely by the kernel" in cause["error"]
    )
    assert cause["error"].endswith("; same failure as in attempt 1, at the same step")
    assert f"worker:1 failed: {cause['error']}" in ran.output
    assert len(ran.events("forming")) < 5, ran.output
    assert containers.left() == []
