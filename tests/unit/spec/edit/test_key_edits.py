"""Edits of a cluster file's text: what changes, and that nothing else does."""

from __future__ import annotations

import pytest

from launcher.errors import UsageError
from launcher.spec.edit import key_edits as edit
from launcher.spec.edit.key_edits import append, set_key, unset_key

FILE = """\
# What we train.
name: 'linear'                # in quotes
mode: sync                    # or async
job: linear_regression
args: {epochs: 10,  learning_rate: 0.10}     # two blanks, and a zero

# Who trains it.
cluster:
  ps:     {tasks: 1}
  worker:
    tasks: 2      # one each
    env:
      A: "1"
  # the judge
  evaluator: 1

run:
  checkpoint:
    every: 30s
# the end
"""
LISTED = """\
job: hello
cluster:
  worker:
    - node-a:2222   # the big one
    - node-b:2222

  # servers
  ps: [node-a:2223]
run:
"""


def keys(key: str) -> list[str]:
    return key.split(".")


def changed(before: str, after: str) -> tuple[list[str], list[str]]:
    """Return the lines that went, and those that came."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


@pytest.mark.parametrize(
    ("key", "value", "gone", "come"),
    [
        ("mode", "async", "mode: sync                    # or async", "mode: async                   # or async"),
        ("name", "other", "name: 'linear'                # in quotes", "name: other                   # in quotes"),
        ("cluster.worker.tasks", "12", "    tasks: 2      # one each", "    tasks: 12     # one each"),
        ("cluster.ps.tasks", "2", "  ps:     {tasks: 1}", "  ps:     {tasks: 2}"),
        ("cluster.ps.cpus", "2", "  ps:     {tasks: 1}", "  ps:     {tasks: 1, cpus: 2}"),
        ("cluster.evaluator.cpus", "2", "  evaluator: 1", "  evaluator: {tasks: 1, cpus: 2}"),
        ("cluster.evaluator", "{tasks: 1, cpus: 3}", "  evaluator: 1", "  evaluator: {tasks: 1, cpus: 3}"),
        ("cluster.worker.env.A", '"2"', '      A: "1"', '      A: "2"'),
        ("cluster.worker.env.B", "x", None, "      B: x"),
        ("run.restarts", "5", None, "  restarts: 5"),
        ("run.checkpoint.keep", "5", None, "    keep: 5"),
        ("run.checkpoint.every", "500 steps", "    every: 30s", "    every: 500 steps"),
    ],
)  # fmt: skip
def test_a_key_that_is_set_changes_its_own_line_only(key: str, value: str, gone: str | None, come: str) -> None:
    after = set_key(FILE, keys(key), value)
    assert changed(FILE, after) == ([gone] if gone else [], [come])
    assert edit.value(after, keys(key)) == edit._plain_value(value, [])


def test_what_is_new_is_written_in_its_own_mapping_before_the_comment_of_the_next() -> None:
    after = set_key(FILE, keys("cluster.worker.cpus"), "2").splitlines()
    assert after[after.index("    cpus: 2") + 1] == "  # the judge"
    after = set_key(FILE, keys("cluster.chief"), "1").splitlines()
    assert after[after.index("  chief: 1") + 1] == ""
    assert set_key(FILE, keys("run.restarts"), "1").splitlines()[-1] == "# the end"


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("args.data", "a, b", 'args: {epochs: 10,  learning_rate: 0.10, data: "a, b"}     # two blanks, and a zero'),
        ("args.data", "'a, b'", "args: {epochs: 10,  learning_rate: 0.10, data: 'a, b'}     # two blanks, and a zero"),
        ("args.x.y", "3", "args: {epochs: 10,  learning_rate: 0.10, x: {y: 3}}     # two blanks, and a zero"),
        ("args", "a: 1", "args: {a: 1}                                 # two blanks, and a zero"),
    ],
)  # fmt: skip
def test_what_would_break_a_line_is_quoted_or_bracketed(key: str, value: str, line: str) -> None:
    assert line in set_key(FILE, keys(key), value).splitlines()


def test_a_block_that_is_replaced_goes_whole() -> None:
    after = set_key(FILE, keys("cluster.worker"), "3")
    assert changed(FILE, after)[1] == ["  worker: 3"]
    assert "    env:" not in after
    assert "  # the judge" in after


def test_a_comment_after_the_key_of_a_block_stays() -> None:
    text = "job: hello\ncluster:   # whom\n  worker: 2\nrun:   # how\n"
    assert set_key(text, ["cluster"], "{worker: 3}").splitlines()[1] == "cluster: {worker: 3}   # whom"
    assert set_key(text, ["run"], "{restarts: 1}").splitlines()[-1] == "run: {restarts: 1}   # how"


def test_nothing_is_left_after_an_emptied_value() -> None:
    after = set_key(FILE, ["run"], "")
    assert after.splitlines()[-2] == "run:"
    assert set_key(after, ["run"], "{restarts: 1}").splitlines()[-2] == "run: {restarts: 1}"


def test_short_forms_are_spelled_out_if_a_key_needs_it() -> None:
    after = set_key(LISTED, keys("cluster.worker.cpus"), "2")
    assert after.splitlines()[2:7] == [
        "  worker:",
        "    addresses:",
        "    - node-a:2222   # the big one",
        "    - node-b:2222",
        "    cpus: 2",
    ]
    assert "  ps: {addresses: [node-a:2223], port: 7}" in set_key(LISTED, keys("cluster.ps.port"), "7").splitlines()


def test_an_empty_key_gets_a_value() -> None:
    assert set_key(LISTED, keys("run.checkpoint.keep"), "5").splitlines()[-1] == "run: {checkpoint: {keep: 5}}"
    assert set_key(LISTED, ["run"], "{restarts: 1}").splitlines()[-1] == "run: {restarts: 1}"


@pytest.mark.parametrize(
    ("key", "gone"),
    [
        ("mode", ["mode: sync                    # or async"]),
        ("cluster.ps", ["  ps:     {tasks: 1}"]),
        ("cluster.ps.tasks", ["  ps:     {tasks: 1}"]),
        ("cluster.worker.env.A", ["    env:", '      A: "1"']),
        ("cluster.worker.tasks", ["    tasks: 2      # one each"]),
        ("run", ["run:", "  checkpoint:", "    every: 30s"]),
        ("run.checkpoint.every", ["run:", "  checkpoint:", "    every: 30s"]),
    ],
)
def test_a_key_that_is_unset_goes_with_what_it_leaves_empty_and_no_comment_of_others(key: str, gone: list[str]) -> None:
    assert changed(FILE, unset_key(FILE, keys(key))) == (gone, [])


def test_in_braces_a_key_goes_with_its_comma() -> None:
    first, last = (unset_key(FILE, keys(f"args.{name}")).splitlines()[4] for name in ("epochs", "learning_rate"))
    assert first == "args: {learning_rate: 0.10}     # two blanks, and a zero"
    assert last == "args: {epochs: 10}     # two blanks, and a zero"


def test_a_key_that_is_not_there_cannot_be_unset() -> None:
    with pytest.raises(UsageError, match=r"^run\.restarts is not set in the file, so it has its default already$"):
        unset_key(FILE, keys("run.restarts"))


def test_addresses_come_to_the_end_and_go_by_their_number() -> None:
    after = append(LISTED, keys("cluster.worker"), ["node-c:2222", "node-d:2222"])
    assert after.splitlines()[5:7] == ["    - node-c:2222", "    - node-d:2222"]
    assert unset_key(after, keys("cluster.worker.2")) == append(LISTED, keys("cluster.worker"), ["node-d:2222"])
    assert "  ps: [node-a:2223, node-b:2223]" in append(LISTED, keys("cluster.ps"), ["node-b:2223"]).splitlines()
    assert "  chief: [node-a:1]" in append(LISTED, keys("cluster.chief"), ["node-a:1"]).splitlines()


SHARED = "job: hello\ncluster:\n  worker: &common {tasks: 2}\n  ps: *common\n"
MERGED = "job: hello\ncluster:\n  worker: &common {tasks: 2, cpus: 1}\n  ps: {<<: *common, tasks: 1}\n"


@pytest.mark.parametrize(("text", "key"), [(SHARED, "cluster.worker.tasks"), (MERGED, "cluster.worker.cpus")])
def test_what_shares_its_text_with_others_is_left_to_the_hand(text: str, key: str) -> None:
    with pytest.raises(UsageError, match=f"^{key} cannot be changed by itself: it shares its text with other keys"):
        set_key(text, keys(key), "3")


def test_beside_an_anchor_there_is_nothing_to_fear() -> None:
    assert changed(SHARED, set_key(SHARED, ["name"], "x")) == ([], ["name: x"])
    assert changed(MERGED, set_key(MERGED, keys("cluster.ps.tasks"), "2"))[1] == ["  ps: {<<: *common, tasks: 2}"]


def test_inside_what_is_no_mapping_there_are_no_keys() -> None:
    with pytest.raises(UsageError, match="mode: is text, not a mapping; 'fast' cannot be set inside it"):
        set_key(FILE, keys("mode.fast"), "1")
