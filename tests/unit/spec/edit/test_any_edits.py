"""Any sequence of edits of nasty files: what is not meant stays as it is, to the last comment and line end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import SpecError, UsageError
from launcher.spec.edit.key_edits import is_written, set_key, unset_key, value
from launcher.spec.edit.layout import tidy
from launcher.spec.edit.line_ends import keeping_line_ends
from launcher.spec.edit.task_edits import add_tasks, remove_tasks
from launcher.spec.file import check
from launcher.spec.yaml.parser import root_of
from tests.examples import examples

# A comment with a line of its own is "# own…"; one behind a value is "#@" and its key or its item.
TABS = """\
# own: the top
name: 'n'   #@name
mode: async\t#@mode
job: hello #@job
cluster:  #@cluster
  # own: first
  ps:     {tasks: 1}  #@ps
  worker: #@worker
    tasks: 2      #@tasks
    # own: env
    env:   #@env
      A: "1" #@A
  # own: between
run:
  restarts: 3 #@restarts
    # own: deeper
  # own: less deep

# own: the end
"""
BRACKETS = """\
job: hello
cluster: {   #@cluster
  # own: first
  worker: [  #@worker
    a:1, #@a:1
    b:1, #@b:1
    # own: inside
    c:1 #@c:1
  ],
  # own: between
  ps: [a:2], #@ps
  chief: [a:3] #@chief
}
# own: behind
args: {}
"""
BLOCKS = """\
job: hello
cluster:
  # own: first
  worker:
  # own: in the list
  - a:1 #@a:1
  - b:1 #@b:1
  # own: the third
  - e:1 #@e:1
  # own: between
  ps:
    addresses:
      - a:2 #@a:2
      # own: behind the item
args:
  text: |
    one # no comment

  # own: behind the text
  b: 1   #@b
  c: >-
    x

# own: the last
run: {restarts: 3}
"""
ALIASES = """\
job: hello
cluster:
  worker: &c {tasks: 2, cpus: 1} #@worker
  ps: *c #@ps
  # own: merged
  chief: {<<: *c, tasks: 1} #@chief
  evaluator: 1 #@evaluator
# own: the end"""
MIXED = "".join(f"{line}\r\n" if number % 3 else f"{line}\n" for number, line in enumerate(BLOCKS.splitlines()))
FILES = {
    "tabs": TABS,
    "brackets": BRACKETS,
    "blocks": BLOCKS,
    "aliases": ALIASES,
    "Windows": TABS.replace("\n", "\r\n"),
    "mixed": MIXED,
}

KEYS = [
    "name", "mode", "args", "args.b", "args.text", "args.n", "args.x.y", "cluster.worker", "cluster.worker.cpus",
    "cluster.worker.tasks", "cluster.worker.addresses", "cluster.worker.addresses.0", "cluster.worker.0",
    "cluster.worker.env.A", "cluster.worker.env.B", "cluster.ps", "cluster.ps.cpus", "cluster.ps.env", "cluster.chief",
    "cluster.evaluator", "run", "run.restarts", "run.output", "run.checkpoint", "run.checkpoint.keep",
]  # fmt: skip
VALUES = ["1", "2", "x", "sync", "async", "{tasks: 2}", "[h:1, h:2]", "{}", "a b", "'q'", "a, b", "# c", "|\n  a\n  b"]
JOBS = st.sampled_from(["worker", "ps", "chief", "evaluator"])
ADDRESSES = st.lists(st.sampled_from(["d:5", "e:6", "[2001:db8::1]:7"]), unique=True, max_size=2)
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(KEYS), st.sampled_from(VALUES)),
        st.tuples(st.just("unset"), st.sampled_from(KEYS), st.none()),
        st.tuples(st.just("add"), JOBS, ADDRESSES),
        st.tuples(st.just("remove"), JOBS, st.sampled_from([None, 0, 1, 2])),
        st.just(("tidy", "", None)),
    ),
    max_size=8,
)
Edit = tuple[str, str, object]


def made(text: str, edit: Edit) -> str:
    match edit:
        case ("set", key, str(written)):
            return set_key(text, key.split("."), written)
        case ("unset", key, None):
            return unset_key(text, key.split("."))
        case ("add", job, list(addresses)):
            return add_tasks(text, Path("f"), job, addresses, 2)
        case ("remove", job, int() | None as number):
            return remove_tasks(text, Path("f"), job, number, 1)
    return tidy(text)


def is_valid(text: str) -> bool:
    try:
        check(text, Path("cluster.yaml"))
    except SpecError:
        return False
    return True


def lines_meant(text: str, edit: Edit) -> range:
    """Return the lines that the key or job of an edit has, or the nearest key above it that is there."""
    what, key, _ = edit
    keys = key.split(".") if what in ("set", "unset") else ["cluster", key]
    while what == "unset" and len(keys) > 1 and len(value(text, keys[:-1]) or "12") == 1:
        keys = keys[:-1]  # goes as well
    node, lines = root_of(text), range(0)
    for part in keys:
        found = node.find(part) if node else None
        if found is None:
            break
        own, node = found
        lines = range(own.line, text.count("\n", 0, node.end - 1) + 1)
    return lines


def comments(text: str, kind: str) -> list[str]:
    return re.findall(rf"# ?{kind}[^\r\n]*", text)


def gone(before: str, after: str) -> Iterator[int]:
    """Yield the lines of a text that are not in the next."""
    matcher = SequenceMatcher(None, before.split("\n"), after.split("\n"), autojunk=False)
    for _, start, end, _, _ in (change for change in matcher.get_opcodes() if change[0] in ("replace", "delete")):
        yield from range(start, end)


def holds(before: str, after: str, edit: Edit) -> None:
    """An edit has changed what it means, and nothing else."""
    what, meant = edit[0], lines_meant(before, edit)
    lines = before.split("\n")
    if what != "tidy":
        others = [lines[number].strip() for number in gone(before, after) if number not in meant]
        # The line before may get a comma, that of a mapping its new key.
        assert len(others) <= 1
        assert not any(line.startswith("#") or not line for line in others)
    free = comments("\n".join(lines[number] for number in meant), "(?:own|@)") if may_lose(before, after, edit) else []
    if what == "set" and free and not re.search(r"[\[{]\s*#", lines[meant[0]]):
        free = [one for one in free if one not in comments(lines[meant[0]], "@")]  # behind the key, so it stays
    lost = [one for one in comments(before, "own") if one not in comments(after, "own")]
    assert [one for one in lost if one not in free] == []
    lost = [one for one in comments(before, "@") if one not in comments(after, "@")]
    assert len([one for one in lost if one not in free]) <= (what == "remove")
    for line in after.split("\n"):
        if own := comments(line, "own"):
            assert line.strip() == own[0]
        if behind := comments(line, "@"):
            assert behind[0][2:] in line.partition("#@")[0]


def may_lose(before: str, after: str, edit: Edit) -> bool:
    """Whether an edit replaces or removes what stands in its lines, and does not only add to it."""
    what, key, _ = edit
    if what == "remove":
        return not is_written(after, ["cluster", key])
    return what == "unset" or (what == "set" and is_written(before, keys_written(before, key.split("."))))


def keys_written(text: str, keys: list[str]) -> list[str]:
    """Return where a value is written: that of addresses may be the whole job, in its short form."""
    is_short = keys[2:] == ["addresses"] and isinstance(value(text, keys[:2]), list)
    return keys[:2] if is_short else keys


@pytest.mark.parametrize("name", FILES)
def test_the_nasty_files_are_right(name: str) -> None:
    assert is_valid(FILES[name])
    assert (name in ("Windows", "mixed")) == ("\r" in FILES[name])


@pytest.mark.parametrize("name", FILES)
@examples(60)
@given(EDITS)
def test_any_sequence_of_edits_changes_what_it_means_and_nothing_else(name: str, edits: list[Edit]) -> None:
    text = FILES[name]
    for edit in edits:
        try:
            after = keeping_line_ends(text, lambda lines, edit=edit: made(lines, edit))  # type: ignore[misc]
        except UsageError:
            continue  # refused: it changes nothing
        if not is_valid(after):
            continue  # as `launcher config` refuses it
        holds(text, after, edit)
        text = after
