from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from launcher.contract.args import job_module, read_args
from launcher.errors import SpecError


@dataclass(frozen=True)
class Synthetic:
    samples: int
    noise: float = 0.1


@dataclass(frozen=True)
class Config:
    rate: float
    epochs: int = 10
    shuffle: bool = False
    data: str | Synthetic = "x.csv"
    kind: Literal["fast", "slow"] = "fast"
    layers: tuple[int, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError("rate is negative\nand that is wrong")


def refused(**args: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read_args(Config, args)
    return [str(problem) for problem in caught.value.problems]


def test_a_job_is_a_module_of_jobs_a_dotted_module_or_a_script() -> None:
    assert job_module("hello") == "jobs.hello"
    assert job_module("my.training") == "my.training"
    assert job_module("path/to/train.py") == "path/to/train.py"


def test_args_become_the_config_with_nested_values() -> None:
    config = read_args(
        Config, {"rate": 1, "data": {"samples": 5}, "layers": [1, 2], "limit": None, "weights": {"a": 1}}
    )
    assert config == Config(1.0, data=Synthetic(5), layers=(1, 2), weights={"a": 1.0})
    assert type(config) is Config
    assert isinstance(config.rate, float)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"rat": 1, "rate": 1}, "args.rat: unknown key; did you mean 'rate'? Allowed: rate, epochs, shuffle, data, "),
        ({}, "args.rate: is missing, and has no default"),
        ({"rate": "1"}, "args.rate: must be a number, not '1' (text)"),
        ({"rate": True}, "args.rate: must be a number, not true (a boolean)"),
        ({"rate": 1, "epochs": True}, "args.epochs: must be a whole number, not true (a boolean)"),
        ({"rate": 1, "epochs": 1.0}, "args.epochs: must be a whole number, not 1.0 (a number)"),
        ({"rate": 1, "shuffle": "yes"}, "args.shuffle: must be true or false, not 'yes' (text)"),
        ({"rate": 1, "shuffle": 1}, "args.shuffle: must be true or false, not 1 (a whole number)"),
        ({"rate": 1, "data": 5}, "args.data: must be text or a mapping, not 5 (a whole number)"),
        ({"rate": 1, "data": {"sample": 5, "samples": 1}}, "args.data.sample: unknown key; did you mean 'samples'?"),
        ({"rate": 1, "kind": "slwo"}, "args.kind: must be 'fast' or 'slow', not 'slwo' (text); did you mean 'slow'?"),
        ({"rate": 1, "layers": [1, "x"]}, "args.layers.1: must be a whole number, not 'x' (text)"),
        ({"rate": 1, "layers": 3}, "args.layers: must be a list, not 3 (a whole number)"),
        ({"rate": 1, "weights": {"a": "b"}}, "args.weights.a: must be a number, not 'b' (text)"),
        ({"rate": 1, "limit": "x"}, "args.limit: must be a whole number, not 'x' (text)"),
    ],
)
def test_a_wrong_arg_gets_its_key_and_a_sentence(args: dict[str, Any], expected: str) -> None:
    (only,) = refused(**args)
    assert only.startswith(expected)


def test_all_wrong_args_are_reported_at_once() -> None:
    assert len(refused(epochs="x", shuffle="no", nothing=1)) == 4


def test_what_the_config_itself_refuses_is_said_line_by_line() -> None:
    assert refused(rate=-1) == ["args: rate is negative", "args: and that is wrong"]
