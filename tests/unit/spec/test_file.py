from __future__ import annotations

from pathlib import Path

import pytest

from launcher.spec.file import MAX_BYTES, load
from tests.unit.spec.conftest import GOOD, Write, problem, problems


def test_default_file_of_the_repository_is_right() -> None:
    file = load(Path(__file__).parents[3] / "cluster.yaml")
    assert file.spec.cluster.worker is not None
    assert file.spec.cluster.worker.tasks == 2
    assert file.spec.run.stall_timeout == 300


def test_the_directory_is_absolute_and_the_data_stays_as_short_as_written(write: Write, tmp_path: Path) -> None:
    file = load(write(GOOD))
    assert file.directory == tmp_path
    assert file.data == {"job": "hello", "cluster": {"worker": 2}}


def test_the_three_forms_of_a_job_mean_the_same(write: Write) -> None:
    for text in ("2", "{tasks: 2}"):
        assert load(write(f"job: a\ncluster: {{worker: {text}}}")).spec.cluster.size == 2
    listed = load(write("job: a\ncluster: {worker: [localhost:1, localhost:2]}")).spec.cluster.worker
    mapped = load(write("job: a\ncluster: {worker: {addresses: [localhost:1, localhost:2]}}")).spec.cluster.worker
    assert listed == mapped
    assert listed is not None
    assert listed.tasks == 2


def test_an_unknown_key_gets_line_key_nearest_word_and_what_is_allowed(write: Write) -> None:
    path = write("job: hello\ncluster:\n  worker:\n    taks: 2\n")
    assert problem(path) == (
        "cluster.yaml:4: cluster.worker.taks: unknown key; did you mean 'tasks'? "
        "Allowed: tasks, min, addresses, cpus, gpus, gpu_memory, virtual_devices, port, env"
    )


def test_a_key_that_belongs_one_level_deeper_is_sent_there(write: Write) -> None:
    assert "did you mean 'run.restarts'?" in problem(write(GOOD + "restarts: 2\n"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("name: 5", "name: must be text, not 5 (a whole number)"),
        ("name: a b", "name: 'a b' cannot name a run's directory"),
        ("mode: asink", "mode: must be 'sync' or 'async', not 'asink' (text); did you mean 'async'?"),
        ("args: [1]", "args: must be a mapping, not [1] (a list)"),
        ("args:", "args: must be a mapping, not empty"),
        ("run: {restarts: -1}", "run.restarts: must be at least 0, not -1 (a whole number)"),
        ("run: {restarts: 1.5}", "run.restarts: must be a whole number, not 1.5 (a number)"),
        ("run: {restarts: true}", "run.restarts: must be a whole number, not true (a boolean)"),
        ("run: {network: on}", "run.network: must be 'private' or 'host', not 'on' (text)"),
        ("run: {start_timeout: 60}", "not 60 (a whole number); write 60s"),
        ("run: {start_timeout: 0s}", "run.start_timeout: must be longer than 0s"),
        ("run: {stall_timeout: 9999999h}", "run.stall_timeout: must be at most a year"),
        ("run: {checkpoint: {every: 5}}", "must be a duration like 30s or 5m, or steps like 500 steps"),
        ("run: {output: ''}", "run.output: must not be empty"),
    ],
)
def test_a_wrong_value_is_shown_with_what_is_allowed(write: Write, line: str, expected: str) -> None:
    message = problem(write(GOOD + line + "\n"))
    assert message.startswith("cluster.yaml:3: ")
    assert expected in message


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ("{worker: yes}", "cluster.worker: must be a number of tasks, a list of addresses, or a mapping, not 'yes'"),
        ("{worker: }", "cluster.worker: must be a number of tasks, a list of addresses, or a mapping, not empty"),
        ("{worker: 0}", "cluster: sync mode needs at least one task that trains; write worker: 2"),
        ("{ps: 1}", "cluster: sync mode needs at least one task that trains; write worker: 2"),
        ("{worker: -1}", "cluster.worker.tasks: must be at least 0, not -1 (a whole number)"),
        ("{worker: 1, chief: 2}", "cluster.chief.tasks: a cluster has at most one chief"),
        ("{worker: 1, evaluator: 2}", "cluster.evaluator.tasks: a cluster has at most one evaluator"),
        ("{worker: [node-a]}", "cluster.worker.addresses.0: 'node-a' has no port; write node-a:2222, or set port"),
        ("{worker: [me@a:1]}", "cluster.worker.addresses.0: 'me@a:1' names a user"),
        ("{worker: ['a:0']}", "cluster.worker.addresses.0: 'a:0' has port 0"),
        ("{worker: ['a:70000']}", "cluster.worker.addresses.0: 'a:70000' has port 70000"),
        ("{worker: [5]}", "cluster.worker.addresses.0: must be text, not 5 (a whole number)"),
        (
            "{worker: [a:1, A:1]}",
            "cluster.worker.addresses.1: A:1 is already the address of cluster.worker.addresses.0",
        ),
        (
            "{worker: [localhost:5], ps: {port: 5}}",
            "cluster.ps.port: 127.0.0.1:5 is already the address of cluster.worker.addresses.0",
        ),
        ("{worker: {tasks: 3, addresses: [a:1]}}", "cluster.worker.tasks: is 3, but addresses lists 1"),
        ("{worker: {tasks: 9, port: 65530}}", "cluster.worker.port: tasks need ports up to 65538"),
        (
            "{worker: [a:1, localhost:2]}",
            "cluster.worker.addresses.1: localhost is a different machine on every machine",
        ),
        ("{worker: [a:1], ps: 1}", "cluster.ps: has no addresses, but other tasks run on a"),
        ("{worker: {gpus: [0, 0]}}", "cluster.worker.gpus: GPU 0 is listed twice"),
        ("{worker: {gpus: some}}", "must be a count (0, 2), a list of ids ([0, 1]) or auto, not 'some' (text)"),
        ("{worker: {gpus: -1}}", "must be a count (0, 2), a list of ids ([0, 1]) or auto"),
        ("{worker: {gpus: 1, virtual_devices: 2}}", "cluster.worker.virtual_devices: virtual devices of a GPU need"),
        ("{worker: {tasks: 2, gpus: 0, virtual_devices: 2}}", "compute on one CPU device each"),
        ("{worker: 1, ps: {gpus: 1}}", "cluster.ps.gpus: a ps computes on the CPU; leave gpus out"),
        ("{worker: {env: {TF_CONFIG: x}}}", "cluster.worker.env.TF_CONFIG: leave it out"),
        ("{worker: {env: {A B: x}}}", "'A B' is not a name of an environment variable"),
        ("{worker: {env: {A: [1]}}}", "cluster.worker.env.A: must be text, not [1] (a list)"),
    ],
)
def test_an_impossible_cluster_is_refused_at_its_key(write: Write, cluster: str, expected: str) -> None:
    message = problem(write(f"job: hello\ncluster: {cluster}\n"))
    assert message.startswith("cluster.yaml:2: ")
    assert expected in message


def test_async_needs_a_worker_and_a_ps_and_says_both(write: Write) -> None:
    found = problems(write("job: a\nmode: async\ncluster: {chief: 1}\n"))
    assert [text.partition("; ")[2] for text in found] == ["write worker: 1", "write ps: 1"]


def test_one_task_on_the_cpu_may_have_virtual_devices(write: Write) -> None:
    load(write("job: a\ncluster: {worker: {gpus: 0, virtual_devices: 2}}"))


def test_problems_of_shape_and_of_meaning_are_reported_together_in_the_order_of_lines(write: Write) -> None:
    path = write(
        "jbo: hello\ncluster:\n  chief: 2\n  worker: {taks: 2}\n  ps: {gpus: 1}\n"
        "run:\n  restarts: many\n  restarts: 2\n"
    )
    found = [(text.split(": ")[0], text.split(": ")[1]) for text in problems(path)]
    assert found == [
        ("cluster.yaml:1", "job"),
        ("cluster.yaml:1", "jbo"),
        ("cluster.yaml:3", "cluster.chief.tasks"),
        ("cluster.yaml:4", "cluster.worker.taks"),
        ("cluster.yaml:5", "cluster.ps.gpus"),
        ("cluster.yaml:7", "run.restarts"),
        ("cluster.yaml:8", "run.restarts"),
    ]


def test_a_wrong_address_does_not_hide_what_is_wrong_with_the_others(write: Write) -> None:
    found = problems(write("job: a\ncluster: {worker: [me@b:1, a:1, a:1]}\n"))
    assert [text.split(": ")[1] for text in found] == ["cluster.worker.addresses.0", "cluster.worker.addresses.2"]


def test_nothing_is_concluded_from_a_key_that_is_wrong_itself(write: Write) -> None:
    assert "wroker" in problem(write("job: a\ncluster: {wroker: 2}\n"))
    assert "mode" in problem(write("job: a\nmode: asink\ncluster: {ps: 1}\n"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "cluster.yaml: is empty; a cluster file has the keys name, mode, job, args, cluster, run"),
        (b"# a comment\n", "cluster.yaml: is empty"),
        (b"- a\n", "cluster.yaml: is a list, not a mapping"),
        (b"hello\n", "cluster.yaml: is text, not a mapping"),
        (bytes(range(256)), "cluster.yaml: is a binary file"),
        ("job: a".encode("utf-16"), "cluster.yaml: is written in UTF-16; save it as UTF-8"),
        ("a: 1\nname: é".encode("latin-1"), "cluster.yaml:2: byte 0xe9 is not UTF-8"),
        (b"#" * (MAX_BYTES + 1), "cluster.yaml: is larger than 1 MiB"),
    ],
)
def test_what_is_no_cluster_file_gets_a_sentence(write: Write, content: bytes, expected: str) -> None:
    assert problem(write(content)).startswith(expected)


def test_a_byte_order_mark_is_no_problem(write: Write) -> None:
    assert load(write(b"\xef\xbb\xbf" + GOOD.encode())).spec.job == "hello"


def test_a_missing_file_names_the_nearest_one(write: Write) -> None:
    write(GOOD)
    assert problem(Path("clutser.yaml")) == "clutser.yaml: there is no such file; did you mean 'cluster.yaml'?"
    assert problem(Path("x.yaml")) == "x.yaml: there is no such file; YAML files in .: cluster.yaml"


def test_a_directory_says_what_it_holds(write: Write) -> None:
    write(GOOD)
    assert problem(Path()) == ".: is a directory; YAML files in .: cluster.yaml"


def test_a_file_that_may_not_be_read_says_why(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(GOOD)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root reads everything
    assert problem(path) == "cluster.yaml: cannot be read: Permission denied"


def test_a_file_that_goes_through_a_link_to_itself_says_why(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert "cannot be read" in problem(tmp_path / "loop.yaml")


def test_set_changes_a_key_and_expands_a_short_form(write: Write) -> None:
    file = load(write(GOOD), ["cluster.worker.cpus=1", "mode=async", "cluster.ps=1", "args.rate=1e-3"])
    assert file.spec.mode == "async"
    assert file.data["cluster"] == {"worker": {"tasks": 2, "cpus": 1}, "ps": 1}
    assert file.spec.args == {"rate": 0.001}


def test_a_problem_of_set_names_the_option(write: Write) -> None:
    assert problem(write(GOOD), "cluster.worker.tasks=x") == (
        "--set cluster.worker.tasks=x: cluster.worker.tasks: must be a whole number, not 'x' (text)"
    )


def test_problems_of_the_file_and_of_every_set_come_together(write: Write) -> None:
    found = problems(write(GOOD + "x: 1\n"), "mode", "y=1")
    assert [text.split(": ")[0] for text in found] == ["cluster.yaml:3", "--set mode", "--set y=1"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (f"cluster.worker.addresses.{'9' * 5000}=x", "cluster.worker.addresses: is a list of 1"),
        (f"args.x=a:{'9' * 5000}: [", "--set args.x="),
        (f"args.{'9' * 5000}=1", ""),
        (f"run.checkpoint.every={'9' * 5000} steps", "run.checkpoint.every: must be a duration like 30s or 5m"),
        ("cluster.worker.addresses=['node:٢٢٢٢']", "cluster.worker.addresses"),
        ("run.start_timeout=٢s", "run.start_timeout: must be a number with a unit"),
    ],
)
def test_digits_without_end_or_of_another_script_are_a_sentence(write: Write, override: str, expected: str) -> None:
    path = write("job: a\ncluster: {worker: ['node:1']}\n")
    if expected:
        assert expected in problem(path, override)
    else:
        load(path, [override])
