"""What is written reads back equal, whoever reads it: the launcher's parser, and a reader of YAML 1.1."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from launcher.spec.edit.key_edits import plain_data, set_key
from launcher.spec.file import check
from launcher.spec.yaml.writer import document, in_one_line
from tests.examples import examples

LOOKALIKES = [
    "08", "08053", "7e12345", "1e3", "0x1F", "0o17", "0b1", "1_000", "12:30:45", "2001-12-14", "2001-12-14 21:59:43",
    "yes", "No", "on", "OFF", "y", "n", "true", "False", "null", "~", "", ".inf", "-.INF", ".nan", "+1", "-0", ".5",
    "<<", "=", "- a", "? a", "a: b", "a #b", "#", "*a", "&a", "!a", "|", ">", "%", "@", "`", "'", '"', "\\", "$HOME",
    "1.", " a", "a ", "\t", "a\nb", "a\r\nb", "\r", "\x1b[2J", "\x07", "\x7f", "\x85", "\x9b", "\u2028", "\u2029",
    "\ufeff", "\ufffe", "é", "日本", "\U0001f600", "\u202e", "a\u00a0b", "---", "...", "{a}", "[a]", "a, b", "x" * 3000,
]  # fmt: skip
texts = st.sampled_from(LOOKALIKES) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
numbers = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False)
values = st.recursive(
    texts | numbers | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts.filter(bool), inner, max_size=3),
    max_leaves=8,
)


def same(left: object, right: object) -> bool:
    return json.dumps(left) == json.dumps(right)  # 1 is neither true nor 1.0 there


@examples(400)
@given(st.dictionaries(texts.filter(bool), values, max_size=4))
def test_what_is_written_reads_back_equal(data: dict[str, Any]) -> None:
    assert same(plain_data(document(data)), data)


@pytest.mark.parametrize("text", LOOKALIKES)
def test_a_text_is_the_same_text_to_a_reader_of_yaml_1_1(text: str) -> None:
    assert yaml.safe_load(f"a: [{in_one_line(text)}, x]") == {"a": [text, "x"]}
    assert yaml.safe_load(document({"a": {"b": text}})) == {"a": {"b": text}}


@examples(100)
@given(texts)
def test_a_file_with_a_text_is_written_and_checked_again_with_the_same_text(text: str) -> None:
    """As with --resume, which reads the cluster file that the run before wrote down."""
    worker = {"tasks": 1, "env": {"A": text}}
    asked = check(document({"job": "x", "args": {"a": text}, "cluster": {"worker": worker}}), Path("cluster.yaml"))
    again = check(document(asked.data), Path("again.yaml"))
    assert again.spec == asked.spec
    assert again.spec.args == {"a": text}
    assert again.spec.cluster.worker is not None
    assert again.spec.cluster.worker.env == {"A": text}


@examples(100)
@given(texts)
def test_set_and_config_set_take_a_quoted_text_unchanged(text: str) -> None:
    file = "job: x\ncluster: {worker: 1}\n"
    written = in_one_line(text)
    assert check(file, Path("cluster.yaml"), [f"args.a={written}"]).data["args"] == {"a": text}
    assert plain_data(set_key(file, ["args", "a"], written))["args"] == {"a": text}


@pytest.mark.parametrize("written", ["08", "1e3", "1.50", "+7", "-0", ".inf", "7e12345", "4", "00.10"])
def test_a_number_of_env_is_the_text_that_was_typed(written: str) -> None:
    text = f"job: x\ncluster: {{worker: {{tasks: 1, env: {{A: &a {written}, B: *a}}}}}}\n"
    for asked in (
        check(text, Path("cluster.yaml")),
        check(text, Path("cluster.yaml"), [f"cluster.worker.env.C={written}"]),
    ):
        again = check(document(asked.data), Path("again.yaml"))
        for file in (asked, again):
            assert file.spec.cluster.worker is not None
            assert set(file.spec.cluster.worker.env.values()) == {written}


def test_numbers_that_are_not_finite_are_written_as_yaml_has_them() -> None:
    assert document({"a": math.inf, "b": [-math.inf]}) == "a: .inf\nb: [-.inf]\n"
    assert math.isnan(plain_data(document({"a": math.nan}))["a"])


def test_a_document_is_as_a_person_writes_it() -> None:
    data = {
        "name": "demo",
        "args": {},
        "cluster": {"worker": {"tasks": 2, "env": {"A": "08"}}},
        "run": {"every": "30s"},
    }
    assert document(data) == (
        'name: demo\nargs: {}\ncluster:\n  worker:\n    tasks: 2\n    env:\n      A: "08"\nrun:\n  every: 30s\n'
    )
    assert document({}) == "{}\n"
