"""A plan is written and read back equal, whatever was asked of whatever machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from launcher.errors import SpecError, UsageError
from launcher.plan.placement import place
from launcher.plan.plan import Plan
from launcher.spec.model import ClusterSpec
from tests.examples import examples
from tests.unit.plan.machines import machine, placed

NUMBERS = st.none() | st.integers(1, 4)
ARGS = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3),
    ),
    max_size=3,
)


def written(text: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is None, as somebody who writes a file does."""
    return {key: value for key, value in text.items() if value is not None}


@st.composite
def jobs(draw: st.DrawFn, most: int = 3) -> dict[str, Any]:
    job: dict[str, Any] = {"tasks": draw(st.integers(1, most)), "cpus": draw(NUMBERS), "gpus": 0}
    if draw(st.booleans()):
        job["addresses"] = [f"127.0.0.1:{draw(st.integers(2000, 9000))}" for _ in range(job["tasks"])]
    elif draw(st.booleans()):
        job["port"] = draw(st.integers(2000, 60_000))
    job["env"] = draw(st.dictionaries(st.from_regex(r"[A-Z]{3,8}", fullmatch=True), st.text(), max_size=2))
    return written(job)


@st.composite
def specs(draw: st.DrawFn) -> ClusterSpec:
    worker = draw(jobs()) | written({"gpus": draw(st.sampled_from([0, 1, "auto"])), "gpu_memory": draw(NUMBERS)})
    if draw(st.booleans()):
        worker["min"] = draw(st.integers(1, worker["tasks"]))
    cluster = {"worker": worker, "ps": draw(jobs(2))}
    cluster |= written({"chief": draw(st.none() | jobs(1)), "evaluator": draw(st.none() | jobs(1))})
    run = {
        "checkpoint": {"every": draw(st.sampled_from(["30s", "1.5h", "500 steps"])), "keep": draw(st.integers(1, 5))},
        "restarts": draw(st.integers(0, 5)),
        "start_timeout": draw(st.sampled_from(["500ms", "60s", "5m"])),
        "network": draw(st.sampled_from(["private", "host"])),
    }
    mode = draw(st.sampled_from(["sync", "async"]))
    data = {"name": "any", "mode": mode, "job": "hello", "args": draw(ARGS), "cluster": cluster, "run": run}
    return ClusterSpec.model_validate(data)


@examples(100)
@given(spec=specs(), gpus=st.sampled_from([0, 1, 4]), cores=st.sampled_from([2, 16]))
def test_any_plan_is_read_back_equal_from_its_json(spec: ClusterSpec, gpus: int, cores: int) -> None:
    try:
        plan = place(spec, machine(gpus, cores), "/where/the file lies")
    except SpecError:
        assume(False)  # more was asked than that machine has
        raise
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert [again.environment(task) for task in again.tasks] == [plan.environment(task) for task in plan.tasks]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": None}, "this is not a plan of launcher"),
        ({"tasks": [{"task": "worker:0"}]}, "'role' is missing"),
        ({"leader": "worker"}, "'worker' is not a task"),
        ({"cluster": []}, "start a new run"),
    ],
)
def test_what_is_no_plan_is_refused_in_a_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan.from_dict(placed(machine(), worker=2).to_dict() | change)


def test_an_older_launchers_plan_lacks_what_this_one_needs() -> None:
    values = placed(machine(), worker=2).to_dict()
    del values["spec"]
    with pytest.raises(UsageError, match="'spec' is missing"):
        Plan.from_dict(values)
