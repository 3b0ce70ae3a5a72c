"""What training reaches, under every strategy and however many tasks share the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from launcher.contract.history import OWN
from tests.cluster.conftest import SHUFFLED, UNEVEN
from tests.support.workplace import ROOT, Ran, Workplace, records

pytestmark = pytest.mark.usefixtures("warm")

ONE = {"cluster": {"worker": 1}}


def assert_same(metrics: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name in ("W", "b", "training_cost", "testing_cost"):
        assert metrics[name] == pytest.approx(expected[name], rel=1e-6), name


def test_a_synchronous_cluster_reaches_the_weights_of_one_process(workplace: Workplace, alone: Ran) -> None:
    ran = workplace.run(cluster={"worker": 3}, **UNEVEN)
    assert_same(ran.metrics, alone.metrics)
    assert ran.result["strategy"] == "MultiWorkerMirroredStrategy"
    assert (ran.result["world_size"], ran.result["steps"]) == (3, 51)


@pytest.mark.parametrize("devices", [1, 3])
def test_virtual_devices_under_mirrored_strategy_reach_the_weights_of_one(
    workplace: Workplace, alone: Ran, devices: int
) -> None:
    ran = workplace.run(cluster={"worker": {"tasks": 1, "virtual_devices": devices}}, **UNEVEN)
    assert_same(ran.metrics, alone.metrics)
    assert ran.result["strategy"] == ("MirroredStrategy" if devices > 1 else "OneDeviceStrategy")


def test_a_chief_trains_like_a_worker_in_a_synchronous_cluster(chief: Ran, alone: Ran) -> None:
    assert_same(chief.metrics, alone.metrics)
    assert (chief.result["strategy"], chief.result["world_size"]) == ("MultiWorkerMirroredStrategy", 2)
    assert "chief:0" in chief.output
    assert not (chief.files / "logs" / "attempt-1" / "ps-0.log").exists()


def test_shuffled_batches_are_the_same_on_two_workers_as_in_one_process(workplace: Workplace, walk: Ran) -> None:
    assert_same(workplace.run(args=SHUFFLED, **ONE).metrics, walk.metrics)


def test_asynchronous_training_reaches_the_truth_on_the_full_batch(asynchronous: Ran) -> None:
    assert asynchronous.result["strategy"] == "ParameterServerStrategy"
    assert asynchronous.metrics["W"] == pytest.approx(0.2516349, abs=5e-3)
    assert asynchronous.metrics["b"] == pytest.approx(0.7988012, abs=5e-3)
    assert (asynchronous.result["world_size"], asynchronous.result["steps"]) == (2, 150 * 17)


def test_asynchronous_workers_draw_batches_of_their_own_and_two_ps_share_the_variables(workplace: Workplace) -> None:
    args = {"epochs": 200, "batch_size": 7, "report_every": 10, "steps_per_call": 3}
    ran = workplace.run(mode="async", args=args, cluster={"worker": 2, "ps": 2})
    assert ran.metrics["training_cost"] == pytest.approx(0.0769288, rel=0.1)


# Workers with two devices where there is no GPU: their servers split the CPU, and the coordinator, which counts nothing
# but GPUs (distribute/parameter_server_strategy_v2.py:626), is told what it would count.
TWO_ON_THE_WORKER = """
from launcher.runtime.training import server

whole = server.server_config

def split(context):
    config = whole(context)
    config.device_count["CPU"] = 2 if context.task.job == "worker" else 1
    return config

server.server_config = split
"""
TWO_FOR_THE_COORDINATOR = """
from tensorflow.python.distribute.parameter_server_strategy_v2 import ParameterServerStrategyV2Extended as Extended
from jobs.linear_regression.job import LinearRegression

Extended._set_num_gpus = lambda self: setattr(self, "_num_gpus_per_worker", 2)
Extended.worker_devices = property(lambda self: ("/device:CPU:0", "/device:CPU:1"))

class Two(LinearRegression):
    pass
"""


def test_the_devices_of_an_asynchronous_worker_share_its_batch(workplace: Workplace, alone: Ran) -> None:
    (workplace.directory / "sitecustomize.py").write_text(TWO_ON_THE_WORKER)
    (workplace.directory / "two.py").write_text(TWO_FOR_THE_COORDINATOR)
    split = {"tasks": 1, "env": {"PYTHONPATH": f"{workplace.directory}:{ROOT}"}}
    ran = workplace.run(mode="async", job="two.py", cluster={"worker": split, "ps": 1}, **UNEVEN)
    assert_same(ran.metrics, alone.metrics)


def test_the_screen_shows_the_tutorials_lines(sync: Ran) -> None:
    shown = sync.said_by("worker:0")
    assert [line.split()[:2] for line in shown[:2]] == [["Epoch:", "0050"], ["Epoch:", "0100"]]
    assert all(word in shown[0] for word in ("cost= ", "W= ", "b= "))
    assert shown[2] == "Optimization Finished!"
    assert [line.partition("=")[0] for line in shown[3:]] == ["Training cost", "Testing cost", "Absolute difference"]


def test_the_screen_shows_no_line_of_tensorflows_own(sync: Ran) -> None:
    scored = sync.said_by("evaluator:0")
    assert all(line.startswith("Epoch: ") for line in scored)
    assert sum("│" in line for line in sync.output.splitlines()) == 6 + len(scored)
    assert "grpc_server_lib" in (sync.files / "logs/attempt-1/worker-0.log").read_text()


def test_the_run_directory_is_complete(sync: Ran) -> None:
    names = {path.name for path in sync.files.iterdir()}
    assert names == {
        *("cluster.yaml", "plan.json", "events.jsonl", "metrics.jsonl", "result.json", "logs", "errors"),
        *("checkpoints", "model", "linear_train.png", "linear_test.png", "cost.png"),
    }
    assert sync.logs == {f"attempt-1/{task}" for task in ("worker-0", "worker-1", "evaluator-0")}
    assert not list((sync.files / "errors/attempt-1").iterdir())


def test_result_json_has_the_promised_keys(sync: Ran) -> None:
    assert list(sync.result) == [
        *(
            "status",
            "exit_code",
            "mode",
            "strategy",
            "communication",
            "reason",
            "world_size",
            "steps",
            "metrics",
            "attempts",
            "wall_s",
        ),
        *("time_to_first_step_s", "steps_per_s", "cause", "left_out", "resumed", "updates"),
    ]
    assert set(sync.metrics) == {"W", "b", "training_cost", "testing_cost", "absolute_difference"}


def test_metrics_jsonl_has_a_line_per_report(sync: Ran) -> None:
    reports = sync.reports("worker:0")
    assert len(reports) + len(sync.reports("evaluator:0")) == len(records(sync.files / "metrics.jsonl"))
    steps = [record["step"] for record in reports]
    assert steps == sorted(set(steps))
    assert steps[-1] == 1700
    assert {*OWN, "cost"} <= set(reports[0])
    assert "training_cost" in next(record for record in reports if record["step"] == 850)


def test_only_as_many_checkpoints_as_asked_are_kept_and_nothing_half_written_is_left(sync: Ran) -> None:
    kept = sorted(path.name for path in (sync.files / "checkpoints").iterdir())
    assert kept == ["step-0000001500", "step-0000001700"]


def test_the_exported_model_predicts_the_same_after_reload(sync: Ran) -> None:
    import tensorflow as tf

    model = tf.saved_model.load(str(sync.files / "model"))
    predicted = model.predict(tf.constant([[3.3], [10.0]], tf.float64)).numpy()
    w, b = sync.metrics["W"], sync.metrics["b"]
    np.testing.assert_allclose(predicted, [3.3 * w + b, 10.0 * w + b], rtol=1e-12)


def test_any_csv_is_learned_in_its_own_units_and_exported(workplace: Workplace) -> None:
    import tensorflow as tf

    random = np.random.default_rng(0)
    rooms, area = random.integers(1, 8, 60), random.uniform(30, 200, 60)
    price = 20.0 * rooms + 3.0 * area + 50.0
    rows = [f"{r},street {i},{a},{p}" for i, (r, a, p) in enumerate(zip(rooms, area, price, strict=True))]
    (workplace.directory / "houses.csv").write_text("\n".join(["rooms,street,area,price", *rows]))
    args = {"data": "houses.csv", "target": "price", "standardise": True, "epochs": 400, "learning_rate": 0.3}
    ran = workplace.run(args=args)
    assert ran.metrics["W"] == pytest.approx([20.0, 3.0], rel=1e-6)
    assert ran.metrics["b"] == pytest.approx(50.0, rel=1e-6)
    model = tf.saved_model.load(str(ran.files / "model"))
    assert model.predict(tf.constant([[2.0, 100.0]], tf.float64)).numpy() == pytest.approx([390.0], rel=1e-6)


def test_synthetic_data_trains_in_batches(workplace: Workplace) -> None:
    synthetic = {"samples": 1000, "features": 3, "noise": 0.0, "seed": 5}
    ran = workplace.run(args={"synthetic": synthetic, "batch_size": 100, "epochs": 40, "learning_rate": 0.1}, **ONE)
    assert len(ran.metrics["W"]) == 3
    assert ran.metrics["training_cost"] < 1e-6
