from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import SpecError
from launcher.host.inventory import Core, Gpu, Inventory
from launcher.plan.placement import place_file, ports_needed
from launcher.spec.file import load
from tests.examples import examples

TEXT = (Path(__file__).parents[3] / "cluster.yaml").read_text(encoding="utf-8")
DATA: dict[str, Any] = yaml.safe_load(TEXT) | {"mode": "async"}
DATA["cluster"] |= {
    "chief": ["localhost:2222"],
    "evaluator": {"env": {"A": 1}, "virtual_devices": 2},
    "ps": {"addresses": ["localhost:2223", "localhost:2224"], "port": 7},
}
WORDS = [
    "-", ": ", "[", "]", "{", "}", "&a ", "*a", "<<: *a", "!", "!!int ", "'", '"', "\t", "\n", "\n---\n", "|", "#",
    "\ufeff", "\x00", "\ud7ff", "é", "%", "@", "?", "999999999999", "1e9", "null", "true", "chief",
    "worker: 3", "port: 1",
]  # fmt: skip
VALUES: list[object] = [
    None, True, False, 0, 1, -1, 2, 3, 65535, 10**30, 0.5, float("nan"), float("inf"), "", "x", "auto", "30s", "0s",
    "5 steps", "a:1", "a", "localhost", "@", "sync", "async", [], {}, [0, 1], ["a:1", "a:1"], {"tasks": 2}, "x" * 300,
    [[[]]], [None],
]  # fmt: skip
KEYS = [
    "tasks", "addresses", "cpus", "gpus", "gpu_memory", "virtual_devices", "port", "env", "worker", "ps", "chief",
    "evaluator", "mode", "job", "args", "cluster", "run", "every", "keep", "x", "<<", "a.b", "1", "",
]  # fmt: skip
INVENTORY = Inventory(
    "h",
    tuple(Core(number) for number in range(4)),
    tuple(Gpu(number, f"GPU-{number}", "T4", 16_000, 16_000) for number in range(2)),
    ports=tuple(range(3000, 3100)),
)
bounded = examples(300)


def holds(content: bytes, *overrides: str) -> None:
    """A file is loaded and perhaps placed, or refused with sentences; nothing else ever happens."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "cluster.yaml")
        path.write_bytes(content)
        try:
            file = load(path, overrides)
            if ports_needed(file.spec) <= len(INVENTORY.ports):
                place_file(file, INVENTORY).to_dict()
        except SpecError as error:
            assert all(problem.message and problem.where for problem in error.problems)  # noqa: PT017  # or none came


def dump(data: object) -> bytes:
    return yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass")


@bounded
@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 12), st.sampled_from(WORDS)), max_size=4))
def test_a_file_with_mangled_text_is_loaded_or_refused(edits: list[tuple[int, int, str]]) -> None:
    text = TEXT
    for start, length, word in edits:
        text = text[:start] + word + text[start + length :]
    holds(text.encode())


@bounded
@given(st.binary(max_size=200))
def test_any_bytes_are_loaded_or_refused(content: bytes) -> None:
    holds(content)


@bounded
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 9), max_size=5), st.sampled_from(KEYS), st.sampled_from(VALUES)),
        min_size=1,
        max_size=4,
    )
)
def test_a_file_with_changed_values_is_loaded_or_refused(edits: list[tuple[list[int], str, object]]) -> None:
    data: Any = copy.deepcopy(DATA)
    for way, key, value in edits:
        place: Any = data
        for step in way:
            inner = [child for child in place.values() if isinstance(child, dict) and child] if place else []
            place = inner[step % len(inner)] if inner else place
        names = [*place, key]
        place[names[sum(way) % len(names)]] = copy.deepcopy(value)
    holds(dump(data))


@bounded
@given(st.lists(st.sampled_from(KEYS), max_size=4), st.text(max_size=10) | st.sampled_from(WORDS))
def test_any_set_is_applied_or_refused(keys: list[str], value: str) -> None:
    holds(dump(DATA), f"{'.'.join(keys)}={value}", "cluster.ps.addresses.1=localhost:9")
