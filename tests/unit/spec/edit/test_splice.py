"""What stands around an edited value: comments, brackets, aliases and quotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import SpecError, UsageError
from launcher.spec.edit.key_edits import append, set_key, unset_key, value
from launcher.spec.edit.line_ends import keeping_line_ends
from launcher.spec.edit.task_edits import add_tasks, remove_tasks

BRACKETS = """\
job: hello
cluster: {   # who
  worker: [
    a:1, # the first
    # the second
    b:1 # the last
  ],
  ps: [a:2], # keeps
  chief: [a:3] # leads
}
"""
BLOCKS = """\
job: hello
args:
  text: |  # as it is
    # not a comment

  # behind it
  other: 1
    # deeper
# the end
"""


def keys(key: str) -> list[str]:
    return key.split(".")


def changed(before: str, after: str) -> tuple[list[str], list[str]]:
    """Return the lines that went, and those that came."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


# Brackets over several lines


def test_what_is_cut_from_brackets_takes_its_own_line_only() -> None:
    assert changed(BRACKETS, unset_key(BRACKETS, keys("cluster.worker.1"))) == (["    b:1 # the last"], [])
    assert changed(BRACKETS, unset_key(BRACKETS, keys("cluster.worker.0"))) == (["    a:1, # the first"], [])
    assert changed(BRACKETS, unset_key(BRACKETS, keys("cluster.chief"))) == (["  chief: [a:3] # leads"], [])
    assert changed(BRACKETS, unset_key(BRACKETS, keys("cluster.ps"))) == (["  ps: [a:2], # keeps"], [])


def test_what_comes_into_brackets_gets_a_line_if_the_others_have_one() -> None:
    after = append(BRACKETS, keys("cluster.worker"), ["c:1", "d:1"])
    assert changed(BRACKETS, after) == (
        ["    b:1 # the last"], ["    b:1, # the last", "    c:1,", "    d:1"],
    )  # fmt: skip
    assert changed(BRACKETS, append(BRACKETS, keys("cluster.ps"), ["b:2"]))[1] == ["  ps: [a:2, b:2], # keeps"]
    last = set_key(BRACKETS, keys("cluster.evaluator"), "[a:4]").splitlines()[-3:]
    assert last == ["  chief: [a:3], # leads", "  evaluator: [a:4]", "}"]


def test_a_comment_before_the_last_item_stays_where_it_is() -> None:
    text = "job: hello\ncluster:\n  worker: [a:1, # the first\n    b:1, c:1]\n"
    after = unset_key(unset_key(text, keys("cluster.worker.2")), keys("cluster.worker.1"))
    assert after.splitlines()[2:] == ["  worker: [a:1, # the first", "    ]"]


def test_a_last_comma_stays_the_last() -> None:
    text = "job: hello\ncluster:\n  worker: [\n    a:1,\n    b:1, # last\n  ]\n"
    after = append(text, keys("cluster.worker"), ["c:1"])
    assert changed(text, after) == ([], ["    c:1,"])
    assert unset_key(after, keys("cluster.worker.2")) == text


def test_a_bracket_that_closes_in_the_last_line_stays_in_the_last_line() -> None:
    text = "job: hello\ncluster: {worker: 1,\n  ps: 1} # all\n"
    assert set_key(text, keys("cluster.chief"), "1").splitlines()[1:] == [
        "cluster: {worker: 1,", "  ps: 1,", "  chief: 1} # all",
    ]  # fmt: skip
    assert unset_key(text, keys("cluster.ps")).splitlines()[1:] == ["cluster: {worker: 1} # all"]


# Blocks


def test_a_block_scalar_goes_alone() -> None:
    after = set_key(BLOCKS, keys("args.text"), "short")
    assert changed(BLOCKS, after) == (
        ["  text: |  # as it is", "    # not a comment"], ["  text: short  # as it is"],
    )  # fmt: skip
    assert after.splitlines()[3:] == BLOCKS.splitlines()[4:]
    assert unset_key(BLOCKS, keys("args.text")).splitlines()[2:] == BLOCKS.splitlines()[4:]


def test_a_new_key_follows_the_deeper_comments_of_the_last() -> None:
    after = set_key(BLOCKS, keys("args.new"), "2").splitlines()
    assert after[-3:] == ["    # deeper", "  new: 2", "# the end"]


def test_a_list_below_its_key_is_moved_if_its_job_becomes_a_mapping() -> None:
    text = "job: hello\ncluster:\n  worker:\n  # ours\n  - a:1  # the first\n\n  - b:1\n  ps: [a:2]\n"
    assert set_key(text, keys("cluster.worker.cpus"), "2").splitlines()[2:] == [
        "  worker:",
        "  # ours",
        "    addresses:",
        "    - a:1  # the first",
        "",
        "    - b:1",
        "    cpus: 2",
        "  ps: [a:2]",
    ]


def test_a_tab_before_a_comment_stays() -> None:
    text = "job: hello\t# ours\ncluster: {worker: 2}\n"
    assert set_key(text, ["job"], "jobs.hello").splitlines()[0] == "job: jobs.hello\t# ours"


# Aliases

SHARED = "job: hello\ncluster:\n  worker: &same {tasks: 2, cpus: 1}\n  ps: *same   # as many\n"
LISTS = "job: hello\ncluster:\n  worker: &same [a:1, b:1]\n  ps: *same\n"


@pytest.mark.parametrize(
    ("after", "line"),
    [
        (lambda: set_key(SHARED, keys("cluster.ps"), "1"), "  ps: 1       # as many"),
        (lambda: set_key(SHARED, keys("cluster.ps.tasks"), "1"), "  ps: {<<: *same, tasks: 1} # as many"),
        (lambda: unset_key(SHARED, keys("cluster.ps.cpus")), "  ps: {tasks: 2} # as many"),
        (lambda: add_tasks(SHARED, Path("f"), "ps", (), 1), "  ps: {<<: *same, tasks: 3} # as many"),
        (lambda: remove_tasks(SHARED, Path("f"), "ps", None, 1), "  ps: {<<: *same, tasks: 1} # as many"),
        (lambda: append(LISTS, keys("cluster.ps"), ["c:1"]), "  ps: [a:1, b:1, c:1]"),
        (lambda: unset_key(LISTS, keys("cluster.ps.0")), "  ps: [b:1]"),
        (lambda: set_key(LISTS, keys("cluster.ps.port"), "7"), "  ps: {addresses: *same, port: 7}"),
    ],
)
def test_an_alias_is_changed_on_its_own_side(after: object, line: str) -> None:
    assert callable(after)
    assert after().splitlines()[3] == line


def test_an_alias_goes_alone() -> None:
    assert unset_key(SHARED, keys("cluster.ps")) == "".join(SHARED.splitlines(keepends=True)[:3])


# Values and keys that are no plain words

PLAIN = "job: hello\nargs: {a: 1}\ncluster: {worker: 2}\n"


@pytest.mark.parametrize(
    ("written", "args"),
    [
        ("a # b", "{a: 1, x: a}"),
        ("#", "{a: 1, x: null}"),
        ("---", "{a: 1, x: null}"),
        (":a", '{a: 1, x: ":a"}'),
        ("a, b", '{a: 1, x: "a, b"}'),
        ("|\n  one\n  two", '{a: 1, x: "one\\ntwo"}'),
        ("- 1\n- {b: 2}", "{a: 1, x: [1, {b: 2}]}"),
        (".nan", "{a: 1, x: .nan}"),
    ],
)
def test_a_value_that_cannot_stand_as_it_is_written_is_written_otherwise(written: str, args: str) -> None:
    assert f"args: {args}" in set_key(PLAIN, keys("args.x"), written).splitlines()


def test_a_key_gets_quotes_if_it_needs_them() -> None:
    after = set_key(PLAIN, ["args", "a, b"], "2")
    assert 'args: {a: 1, "a, b": 2}' in after.splitlines()
    assert value(after, ["args", "a, b"]) == 2


def test_an_address_of_ipv6_is_text() -> None:
    text = "job: hello\ncluster:\n  worker: ['[2001:db8::1]:2222']\n"
    after = add_tasks(text, Path("f"), "worker", ["[2001:db8::2]:2222"], 1)
    assert value(after, keys("cluster.worker")) == ["[2001:db8::1]:2222", "[2001:db8::2]:2222"]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "{}\n"])
def test_an_empty_file_gets_its_first_keys(text: str) -> None:
    after = set_key(set_key(text, ["job"], "hello"), keys("cluster.worker"), "2")
    assert value(after, keys("cluster.worker")) == 2
    assert after.startswith(text.strip("{}\n"))


def test_a_value_that_is_not_yaml_is_reported_with_its_key() -> None:
    with pytest.raises(SpecError, match=r"^args\.x=@home: column 1: a value cannot begin with '@'; put it in quotes$"):
        set_key(PLAIN, keys("args.x"), "@home")


def test_an_index_past_the_end_of_a_list_is_reported() -> None:
    text = PLAIN.replace("a: 1", "layers: [{size: 1}, {size: 2}]")
    with pytest.raises(UsageError, match=r"^args\.layers: is a list of 2; its keys count from 0$"):
        set_key(text, keys("args.layers.5.size"), "1")
    assert "layers: [{size: 1}, {size: 3}]" in set_key(text, keys("args.layers.1.size"), "3")


def test_a_key_that_is_empty_can_be_unset() -> None:
    assert unset_key(f"{PLAIN}run:   # later\n", ["run"]) == PLAIN


def test_a_mistyped_key_of_the_args_gets_the_nearest_one() -> None:
    text = PLAIN.replace("a: 1", "epochs: 1, rate: 2")
    with pytest.raises(UsageError, match=r"^args\.epoch is not set in the file; did you mean 'epochs'\?$"):
        unset_key(text, keys("args.epoch"))


# Line ends


def test_each_line_keeps_its_end() -> None:
    mixed = "job: hello\r\n# ours\nmode: sync\r\ncluster: {worker: 2}\r\n"
    after = keeping_line_ends(mixed, lambda text: set_key(text, ["name"], "x"))
    assert after == f"{mixed}name: x\r\n"
    after = keeping_line_ends(mixed, lambda text: set_key(text, ["mode"], "async"))
    assert after == mixed.replace("sync", "async")
