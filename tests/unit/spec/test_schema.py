"""The JSON Schema says what the models say: of every example file, and of what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from launcher.engines.table import SECTIONS
from launcher.spec.schema import json_schema
from launcher.spec.yaml.parser import parse

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "launcher/spec/cluster.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(json_schema(SECTIONS))


def plain(text: str) -> Any:
    root, problems = parse(text, str)
    assert not problems
    return root.plain() if root else None


def examples() -> Iterator[tuple[str, str]]:
    """Yield every cluster file of the repository; tests/docs has those that the pages show."""
    for path in [ROOT / "cluster.yaml", *ROOT.glob("docker/*.cluster.yaml")]:
        yield path.name, path.read_text()


def keys(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, definition in {"": schema, **schema["$defs"]}.items():
        for key, value in definition["properties"].items():
            yield f"{name}.{key}", value


def errors(text: str) -> list[str]:
    return [error.json_path for error in VALIDATOR.iter_errors(plain(text))]


def test_the_committed_schema_is_that_of_the_models() -> None:
    assert json.loads(COMMITTED.read_text()) == json_schema(SECTIONS), "write it anew: launcher config schema"


def test_the_schema_is_one_of_2020_12() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(SECTIONS))
    assert json_schema(SECTIONS)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_default_file_names_it_to_editors() -> None:
    first = (ROOT / "cluster.yaml").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={COMMITTED.relative_to(ROOT)}"


@pytest.mark.parametrize(("name", "key"), list(keys(json_schema(SECTIONS))))
def test_every_key_has_a_description_an_example_that_fits_and_a_default_that_fits(
    name: str, key: dict[str, Any]
) -> None:
    assert key["description"], name
    one = VALIDATOR.evolve(schema=key | {"$defs": json_schema(SECTIONS)["$defs"]})
    for value in [*key["examples"], *([key["default"]] if "default" in key else [])]:
        one.validate(value)


@pytest.mark.parametrize(("name", "text"), list(examples()))
def test_every_example_file_is_valid(name: str, text: str) -> None:
    assert errors(text) == [], name


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("job: a\ncluster: {worker: 2}\nmod: sync", "$"),
        ("job: a\ncluster: {worker: 2}\nmode: fast", "$.mode"),
        ("job: a\ncluster: {workers: 2}", "$.cluster"),
        ("job: a\ncluster: {worker: two}", "$.cluster.worker"),
        ("job: a\ncluster: {worker: {taks: 2}}", "$.cluster.worker"),
        ("job: a\ncluster: {worker: 2}\nrun: {start_timeout: 60}", "$.run.start_timeout"),
        ("job: a\ncluster: {worker: 2}\nrun: {restarts: -1}", "$.run.restarts"),
        ("job: a\ncluster: {worker: 2}\nrun: {start_timeout: 0s}", "$.run.start_timeout"),
        ("job: a\ncluster: {worker: 2}\nrun: {checkpoint: {every: often}}", "$.run.checkpoint.every"),
        ("job: a\ncluster: {worker: 2}\nrun: {checkpoint: {every: 0 steps}}", "$.run.checkpoint.every"),
        ("job: a\ncluster: {worker: 2}\nname: a b", "$.name"),
        ("job: a\ncluster: {worker: [me@node-a]}", "$.cluster.worker"),
        ("job: a\ncluster: {worker: {gpus: -1}}", "$.cluster.worker"),
        ("cluster: {worker: 2}", "$"),
    ],
)
def test_what_the_models_refuse_the_schema_refuses_at_the_same_place(text: str, where: str) -> None:
    assert errors(text) == [where]


@pytest.mark.parametrize("every", ["0.5s", "10 m", "1 step", "500 steps"])
def test_an_interval_that_the_models_take_the_schema_takes(every: str) -> None:
    assert errors(f"job: a\ncluster: {{worker: ['[::1]:2222']}}\nrun: {{checkpoint: {{every: {every}}}}}") == []
