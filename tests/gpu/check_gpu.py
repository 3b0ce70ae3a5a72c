"""What only a real NVIDIA GPU can show. Not a part of the ordinary tests: ``make gpu`` runs it, in one command."""

from __future__ import annotations

import pytest

from launcher.host.inventory import take
from tests.support.workplace import Workplace

pytestmark = pytest.mark.timeout(900)

ROWS = 10_000_000
LIMIT = 2048  # MiB
GREEDY = """
import tensorflow as tf
from launcher.runtime.job import Job

class Greedy(Job):
    def build(self):
        self.steps = 1
        self.v = tf.Variable(0.0, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def dataset(self, shard):
        return tf.data.Dataset.from_tensors(1.0).repeat()

    def train_step(self, batch):
        return {}

    def evaluate(self):
        with tf.device("/GPU:0"):
            return {"sum": tf.reduce_sum(tf.ones([MIB * 1024 * 256]))}  # as many MiB of float32
"""


@pytest.fixture(scope="session", autouse=True)
def a_gpu() -> None:
    if not take().gpus:
        pytest.exit(f"this machine has no GPU to check: {take().gpu_note}", returncode=1)


def test_each_task_computes_on_its_gpu_and_sees_no_other(workplace: Workplace) -> None:
    gpus = take().gpus
    ran = workplace.run(job="hello", args={}, cluster={"worker": {"tasks": len(gpus), "gpus": 1}})
    assert ran.code == 0, ran.output
    for index, gpu in enumerate(gpus):
        assert f"worker:{index} GPU:0: 2 + 3 = 5" in ran.output
        assert list(ran.placed[f"worker:{index}"]["gpus"]) == [str(gpu.id)]
    assert "GPU:1" not in ran.output


def test_tasks_that_are_forked_from_one_import_open_the_gpu_each_for_itself(workplace: Workplace) -> None:
    worker = {"tasks": 2, "gpus": [take().gpus[0].id], "gpu_memory": LIMIT}
    ran = workplace.run(job="hello", args={}, cluster={"worker": worker}, run={"start_method": "fork"})
    assert ran.code == 0, ran.output
    assert all(f"worker:{index} GPU:0: 2 + 3 = 5" in ran.output for index in range(2))


def test_the_coordinator_the_ps_and_the_evaluator_see_no_gpu(workplace: Workplace) -> None:
    ran = workplace.run(mode="async", cluster={"worker": {"tasks": 1, "gpus": 1}, "ps": 1, "evaluator": 1})
    assert ran.code == 0, ran.output
    assert {task: bool(seen["gpus"]) for task, seen in ran.placed.items()} == {
        "chief:0": False,
        "worker:0": True,
        "ps:0": False,
        "evaluator:0": False,
    }


@pytest.mark.parametrize(("mib", "code"), [(LIMIT // 2, 0), (2 * LIMIT, 1)])
def test_a_memory_limit_is_a_hard_one(workplace: Workplace, mib: int, code: int) -> None:
    (workplace.directory / "greedy.py").write_text(GREEDY.replace("MIB", str(mib)))
    worker = {"tasks": 1, "gpus": [take().gpus[0].id], "gpu_memory": LIMIT}
    ran = workplace.run(job="greedy.py", args={}, cluster={"worker": worker})
    assert ran.code == code, ran.output
    assert code == 0 or "ResourceExhaustedError" in ran.output


def test_two_tasks_share_a_gpu_under_ring_and_reach_the_weights_of_the_cpu(workplace: Workplace) -> None:
    alone = workplace.run(cluster={"worker": {"tasks": 1, "gpus": 0}}).metrics
    worker = {"tasks": 2, "gpus": [take().gpus[0].id], "gpu_memory": LIMIT}
    ran = workplace.run(cluster={"worker": worker})
    assert ran.result["communication"] == "RING"
    assert ran.metrics["W"] == pytest.approx(alone["W"], abs=1e-6)
    assert ran.metrics["b"] == pytest.approx(alone["b"], abs=1e-6)


def test_a_task_for_each_gpu_is_joined_by_nccl_on_cores_near_its_gpu(workplace: Workplace) -> None:
    there = take()
    if len(there.gpus) < 2:
        pytest.skip("one GPU alone is joined with none")
    alone = workplace.run(cluster={"worker": {"tasks": 1, "gpus": 0}}).metrics
    ran = workplace.run(cluster={"worker": {"tasks": len(there.gpus), "gpus": 1, "cpus": 1}})
    assert ran.result["communication"] == "NCCL"
    assert ran.metrics["W"] == pytest.approx(alone["W"], abs=1e-6)
    nodes = {core.id: core.node for core in there.cores}
    for index, gpu in enumerate(there.gpus):
        assert {nodes[core] for core in ran.placed[f"worker:{index}"]["cores"]} == {gpu.node}


def test_the_parts_of_an_asynchronous_worker_s_gpu_share_its_batch(workplace: Workplace) -> None:
    args = {"epochs": 20, "report_every": 20}
    whole = {"tasks": 1, "gpus": [take().gpus[0].id], "gpu_memory": LIMIT}
    alone, split = (
        workplace.run(mode="async", args=args, cluster={"worker": whole | parts, "ps": 1})
        for parts in ({}, {"virtual_devices": 2})
    )
    assert (alone.result["world_size"], split.result["world_size"]) == (1, 2)
    assert split.metrics["W"] == pytest.approx(alone.metrics["W"], abs=1e-6)


def test_one_task_on_every_gpu_reaches_the_weights_of_the_cpu(workplace: Workplace) -> None:
    alone = workplace.run(cluster={"worker": {"tasks": 1, "gpus": 0}}).metrics
    ran = workplace.run(cluster={"worker": {"tasks": 1}})
    assert ran.metrics["W"] == pytest.approx(alone["W"], abs=1e-6)
    assert ran.result["strategy"] == ("MirroredStrategy" if len(take().gpus) > 1 else "OneDeviceStrategy")


def test_many_rows_on_the_gpu_and_on_the_cpu(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """Not a limit: prints how fast each was, as a ratio."""
    # Three calls, of which the first, with the tracing and the copy of the rows in it, does not count.
    steps = {"epochs": 60, "report_every": 60, "steps_per_call": 20}
    args = steps | {"synthetic": {"samples": ROWS, "features": 1}}
    cpu = workplace.run(args=args, cluster={"worker": {"tasks": 1, "gpus": 0}})
    gpu = workplace.run(args=args, cluster={"worker": {"tasks": 1, "gpus": 1}})
    assert gpu.metrics["training_cost"] == pytest.approx(cpu.metrics["training_cost"], rel=1e-6)
    speeds = [ran.result["steps_per_s"] for ran in (cpu, gpu)]
    with capsys.disabled():
        print(f"\n{ROWS:,} rows, {take().gpus[0].name}: CPU {speeds[0]:.3f}, GPU {speeds[1]:.3f} steps/s, ", end="")
        print(f"ratio {speeds[1] / speeds[0]:.1f}")
