"""`launcher config`: what each verb prints, what it writes, and that what is refused changes nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from launcher.cli import launcher
from launcher.contract.task import Task
from launcher.engines.run_lock import locked
from launcher.errors import LauncherError, UsageError
from launcher.rundir import RunFiles
from launcher.spec.file import load
from launcher.whole_files import write_json
from tests.unit.commands.setup.edited import FILE


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("cluster.yaml").write_text(FILE)
    return tmp_path


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(launcher, ["config", *arguments], catch_exceptions=True)
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit | LauncherError):
        raise result.exception
    return result


def said(*arguments: str) -> str:
    result = call(*arguments)
    assert result.exception is None, result.exception
    return result.output


def refused(*arguments: str) -> str:
    """Return the sentence of a call that must change nothing."""
    before = Path("cluster.yaml").read_bytes()
    result = call(*arguments)
    assert isinstance(result.exception, UsageError), result.output
    assert result.exception.exit_code == 2
    assert Path("cluster.yaml").read_bytes() == before
    return str(result.exception)


def text() -> str:
    return Path("cluster.yaml").read_text()


# Read


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cluster.worker.tasks", "3"),
        ("mode", "sync"),
        ("run.start_timeout", "60s"),
        ("cluster.ps", "tasks: 1\ngpus: auto"),
        ("run.checkpoint", "every: 30s\nkeep: 3"),
    ],
)
def test_get_prints_a_value_or_its_default(key: str, value: str) -> None:
    assert said("get", key) == f"{value}\n"


def test_get_takes_set_and_json() -> None:
    assert json.loads(said("get", "run", "--json", "--set", "run.restarts=9"))["restarts"] == 9


def test_a_key_that_is_none_gets_the_nearest_one() -> None:
    assert refused("get", "cluster.worker.taks") == (
        "there is no key 'cluster.worker.taks'; did you mean 'cluster.worker.tasks'?"
    )
    assert refused("get", "cluster.chief.cpus") == "cluster.chief.cpus has no value and no default in cluster.yaml"


def test_get_goes_into_lists() -> None:
    said("set", "args.layers=[{size: 3}, {size: 4}]", "cluster.evaluator=1")
    assert said("get", "args.layers.1.size") == "4\n"
    assert said("get", "args.layers.0") == '{"size": 3}\n'
    said("set", "cluster.worker=[node-a:1, node-b:1]", "cluster.ps=[node-a:2]", "cluster.evaluator=[node-a:3]")
    assert said("get", "cluster.worker.addresses.1") == said("get", "cluster.worker.1") == "node-b:1\n"
    assert refused("get", "args.layer") == (
        "args.layer has no value and no default in cluster.yaml; did you mean 'layers'?"
    )


@pytest.mark.parametrize("key", ["args.", "foo.worker.0", "mode.0", "cluster.worker.env.A.B", "cluster..ps", ""])
def test_what_is_no_key_is_refused(key: str) -> None:
    assert refused("get", key).startswith(f"there is no key {key!r}")


def test_show_has_every_value_with_its_origin() -> None:
    lines = [line.split() for line in said("show", "--set", "run.restarts=9").splitlines()]
    assert ["mode", "sync", "cluster.yaml:2"] in lines
    assert ["cluster.ps.tasks", "1", "cluster.yaml:6"] in lines
    assert ["cluster.worker.gpus", "auto", "default"] in lines
    assert ["run.restarts", "9", "--set", "run.restarts=9"] in lines
    assert json.loads(said("show", "--json"))["mode"] == {"value": "sync", "origin": "cluster.yaml:2"}


def test_diff_compares_with_a_file_a_run_and_set(place: Path) -> None:
    (place / "other.yaml").write_text(FILE.replace("tasks: 3", "tasks: 2, cpus: 1"))
    expected = "- cluster.worker.tasks: 2\n+ cluster.worker.tasks: 3\n- cluster.worker.cpus: 1\n"
    assert said("diff", "other.yaml") == expected
    run = place / "runs" / "night"
    run.mkdir(parents=True)
    write_json(run / "plan.json", {})
    (run / "cluster.yaml").write_text((place / "other.yaml").read_text())
    assert said("diff", "--run", "night") == expected
    assert said("diff", "--set", "mode=async") == "- mode: sync\n+ mode: async\n"
    assert said("diff", "cluster.yaml") == "no difference\n"
    assert "did you mean 'night'?" in refused("diff", "--run", "nigt")
    assert refused("diff").startswith("name what to compare with")


# Edit


def test_set_writes_all_or_nothing_and_shows_the_difference() -> None:
    output = said("set", "mode=async", "run.restarts=5")
    assert "-mode: sync      # or async\n+mode: async     # or async" in output
    assert text() == FILE.replace("mode: sync      #", "mode: async     #") + "run: {restarts: 5}\n"
    assert refused("set", "run.restarts=6", "mode=fast") == (
        "the edit is refused; cluster.yaml is unchanged:\n"
        "cluster.yaml:2: mode: must be 'sync' or 'async', not 'fast' (text)"
    )
    assert refused("set", "mode") == "write KEY=VALUE, like cluster.worker.tasks=3, not 'mode'"


def test_a_dry_run_shows_the_difference_and_writes_nothing() -> None:
    assert "+  worker: {tasks: 5}    # train" in said("add", "worker", "--count", "2", "--dry-run")
    assert text() == FILE


def test_an_edit_that_changes_nothing_says_so() -> None:
    assert said("set", "mode=sync") == "cluster.yaml: nothing to change\n"


def test_the_file_may_be_named_before_and_after_the_other_arguments(place: Path) -> None:
    (place / "other.yaml").write_text(FILE)
    said("set", "--file", "other.yaml", "mode=async")
    said("set", "run.restarts=1", "--file", "other.yaml")
    spec = load(place / "other.yaml").spec
    assert (spec.mode, spec.run.restarts) == ("async", 1)
    assert text() == FILE


def test_unset_gives_a_key_its_default_back() -> None:
    said("set", "run.restarts=5")
    said("unset", "run.restarts")
    assert text() == FILE


def test_a_wrong_key_can_be_unset(place: Path) -> None:
    (place / "cluster.yaml").write_text(FILE + "mod: sync\n")
    assert refused("unset", "mdoe") == "there is no key 'mdoe'; did you mean 'mode'?"
    said("unset", "mod")
    assert text() == FILE


def test_args_that_the_job_does_not_know_are_refused() -> None:
    said("set", "job=linear_regression", "args.epochs=5")
    assert "args.epoch: unknown key; did you mean 'epochs'?" in refused("set", "args.epoch=5")
    assert "there is no job 'linear_regresion'; did you mean 'linear_regression'?" in refused(
        "set", "job=linear_regresion"
    )


def test_an_edit_of_a_file_whose_job_is_wrong_already_tells_so(place: Path) -> None:
    (place / "cluster.yaml").write_text(FILE.replace("job: hello", "job: linear_regression\nargs: {epoch: 5}"))
    assert "note: cluster.yaml:4: args.epoch: unknown key; did you mean 'epochs'?" in said("set", "mode=async")
    assert "note" not in said("unset", "args.epoch")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("add", "worker"), "  worker: {tasks: 4}    # train"),
        (("add", "ps", "--count", "2"), "  ps: 3"),
        (("add", "evaluator"), "  evaluator: 1"),
        (("remove", "worker:2"), "  worker: {tasks: 2}    # train"),
        (("remove", "worker", "--count", "2"), "  worker: {tasks: 1}    # train"),
    ],
)
def test_tasks_come_and_go(arguments: tuple[str, ...], line: str) -> None:
    said(*arguments)
    assert line in text().splitlines()


def test_the_last_task_of_a_job_takes_the_job_along() -> None:
    said("remove", "ps:0")
    assert "ps" not in text()


def test_tasks_with_addresses_come_and_go_by_address(place: Path) -> None:
    (place / "cluster.yaml").write_text("job: hello\ncluster:\n  worker: [node-a:1, node-b:1]\n")
    said("add", "worker", "node-c:1", "node-d:1")
    assert "  worker: [node-a:1, node-b:1, node-c:1, node-d:1]" in text()
    said("remove", "worker:1")
    said("remove", "worker", "--count", "1")
    assert "  worker: [node-a:1, node-c:1]" in text()
    assert "node-a:1 is already the address of cluster.worker.addresses.0" in refused("add", "worker", "node-a:1")
    assert refused("add", "worker") == (
        "the tasks of worker have addresses; give those of the new tasks: config add worker node-c:2222"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("remove", "worker", "--count", "3"), "worker is the last worker, and a cluster needs at least one"),
        (("remove", "worker:3"), "there is no worker:3 to remove: the cluster has worker:0 to worker:2"),
        (("remove", "evaluator:0"), "there is no evaluator:0 to remove: the cluster has no evaluator"),
        (("remove", "worker", "--count", "9"), "the cluster has 3 worker tasks, and --count 9 is more"),
        (("remove", "wroker:1"), "there is no job 'wroker'; did you mean 'worker'?"),
        (("remove", "worker:one"), "name a task, like worker:0, or a job with --count, not 'worker:one'"),
        (("add", "worker", "node-a:1", "--count", "2"), "give addresses or --count, not both: each address is a task"),
        (("add", "evaluator", "--count", "2"), "the edit is refused; cluster.yaml is unchanged:"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_plainly(arguments: tuple[str, ...], sentence: str) -> None:
    assert refused(*arguments).startswith(sentence)


def test_a_ps_that_async_needs_stays() -> None:
    said("set", "mode=async")
    assert "async mode needs at least one ps, which keeps the variables; write ps: 1" in refused("remove", "ps:0")


def test_workers_by_number_do_not_become_workers_with_addresses() -> None:
    assert refused("add", "worker", "node-a:1") == (
        "worker is a number of tasks here (3); tasks with addresses need one each: "
        "config set 'cluster.worker.addresses=[HOST-0:PORT, HOST-1:PORT, HOST-2:PORT, node-a:1]' cluster.worker.tasks=4"
    )
    assert refused("add", "ps", "node-a:1").endswith("config set 'cluster.ps=[HOST-0:PORT, node-a:1]'")
    said("set", "cluster.worker.addresses=[a:1, b:1, c:1, node-a:1]", "cluster.worker.tasks=4", "cluster.ps=[a:2]")
    assert "add worker --count 2" in refused("add", "worker", "2")


def test_a_task_that_a_run_uses_is_named(place: Path) -> None:
    files = RunFiles(place / "runs" / "night")
    files.directory.mkdir(parents=True)
    with locked(files, [Task("worker", 1), Task("worker", 2), Task("ps", 0)], print):
        note = f"note: night is running {{}} (pid {os.getpid()} on "
        assert note.format("worker:1") in said("remove", "worker:1", "--dry-run")
        assert note.format("worker:2") in said("set", "cluster.worker.tasks=2", "--dry-run")
        assert note.format("ps:0") in said("unset", "cluster.ps", "--dry-run")
        assert "note" not in said("remove", "worker:0", "--dry-run")
        assert note.format("worker:2") in said("remove", "worker", "--count", "1")
    assert "note" not in said("remove", "worker:1")


def test_format_tidies_the_layout_and_keeps_values_and_comments(place: Path) -> None:
    untidy = "# ours   \n\n\njob: hello\ncluster:\n      # train\n      worker:\n          tasks: 2\n\n\n"
    (place / "cluster.yaml").write_text(untidy)
    said("format")
    assert text() == "# ours\n\njob: hello\ncluster:\n  # train\n  worker:\n    tasks: 2\n"
    assert said("format") == "cluster.yaml: nothing to change\n"


def test_format_leaves_values_of_several_lines_alone(place: Path) -> None:
    kept = "  worker: [\n      a:1,   \n\n\n         b:1 # last\n  ]"
    untidy = f"job: hello\nargs:\n    text: |\n         one   \n\n\n         two\ncluster:\n{kept}\n"
    (place / "cluster.yaml").write_text(untidy)
    said("format")
    assert text() == untidy.replace("    text", "  text")


def test_what_is_not_yaml_is_reported_with_its_line(place: Path) -> None:
    (place / "cluster.yaml").write_text("job: hello\ncluster: [a\n")
    for arguments in (["format"], ["set", "mode=sync"], ["unset", "mode"]):
        assert (
            refused(*arguments) == "cluster.yaml:2: column 10: a list that begins here with '[' is not closed with ']'"
        )


def test_a_mistyped_verb_gets_the_nearest_one() -> None:
    result = CliRunner().invoke(launcher, ["config", "unste"])
    assert "there is no verb 'unste'; did you mean 'unset'? Verbs: init, get, set" in result.output


@pytest.mark.parametrize("verb", ["init", "get", "set", "unset", "add", "remove", "show", "diff", "format", "schema"])
def test_every_verb_has_an_example_in_its_help(verb: str) -> None:
    assert f"Example: launcher config {verb}" in said(verb, "--help")
