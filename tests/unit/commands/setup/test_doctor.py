"""`launcher doctor`: each line says what is, what is wrong, and what to do; nothing secret is in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from launcher.cli import launcher
from launcher.commands import file_probes, machine_probes
from launcher.commands.findings import Finding
from launcher.commands.setup import doctor
from launcher.engines.compose.docker import Docker
from launcher.engines.local.network.settled import Network
from launcher.engines.local.network.way_out import NOT_INSTALLED
from launcher.errors import UsageError
from launcher.host.cores import Core
from launcher.host.gpus import Gpu
from launcher.host.inventory import Inventory, Memory
from launcher.host.memory import read_memory
from launcher.plan.memory import EACH

FILE = "job: hello\ncluster:\n  worker: 2\n"
FOUND = {
    "tensorflow": "2.21.0",
    "seconds": 2.0,
    "why_not_forked": "",
    "cuda": "12.5.1",
    "cudnn": "9",
    "gpus": [],
    "found": [],
    "missing": [],
}
GPU = Gpu(0, "GPU-0", "H200", 141_000, 141_000)


def host(*gpus: Gpu, note: str = "", cores: int = 4) -> Inventory:
    return Inventory("here", tuple(Core(i, 0) for i in range(cores)), gpus, note)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("launcher.engines.local.warm.place", lambda: tmp_path / "waiting")
    for name in machine_probes._PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


# The whole page


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow answers at once."""
    monkeypatch.setattr(machine_probes, "ask_tensorflow", lambda _: FOUND)


@pytest.mark.usefixtures("quick")
def test_a_page_has_a_line_for_everything_and_exit_code_0(place: Path) -> None:
    (place / "cluster.yaml").write_text(FILE)
    result = CliRunner().invoke(launcher, ["doctor", "--json"])
    page = json.loads(result.output)
    about = [line["about"] for line in page["lines"]]
    assert about == [
        *("Python", "cores", *(["CPU features"] if "CPU features" in about else []), "memory", "GPUs", "Keras"),
        *("TensorFlow", "CUDA", "start", "private network", "containers", "proxies", "hostname", "cluster.yaml"),
        *("job", "devices", "memory", "ports", "output"),
    ]
    assert (page["ok"], result.exit_code) == (True, 0)


@pytest.mark.usefixtures("quick")
def test_a_problem_has_exit_code_1_and_its_line(place: Path) -> None:
    (place / "cluster.yaml").write_text(FILE + "mode: fast\n")
    result = CliRunner().invoke(launcher, ["doctor"])
    assert result.exit_code == 1
    line = "problem  cluster.yaml:4  mode: must be 'sync' or 'async', not 'fast' (text)"
    assert line in result.output.splitlines()


@pytest.mark.usefixtures("quick")
def test_without_a_file_the_next_step_is_said() -> None:
    result = CliRunner().invoke(launcher, ["doctor"])
    assert result.exit_code == 0
    assert "there is no cluster.yaml" in result.output
    assert "→ launcher config init writes one" in result.output


def test_secrets_of_a_proxy_stay_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy:3128")
    (line,) = machine_probes.proxies()
    assert line.message == "HTTPS_PROXY: used for downloads only; the cluster's gRPC bypasses it"


def test_tensorflow_is_imported_and_answers_from_a_process_of_its_own() -> None:
    answer = machine_probes.ask_tensorflow("2.21.0")
    assert isinstance(answer, dict)
    assert answer.keys() == FOUND.keys()
    assert answer["tensorflow"].startswith("2.21.")


# One line each


@pytest.mark.parametrize(("why", "state"), [("", "ok"), ("importing TensorFlow has opened a GPU", "warning")])
def test_whether_tasks_are_forked_is_said_with_the_reason_if_not(why: str, state: str) -> None:
    line = machine_probes.start_method({**FOUND, "why_not_forked": why})
    assert line.state == state
    assert line.message.endswith(why)


def test_a_process_that_waits_for_the_next_run_is_named_and_one_that_has_gone_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.engines.local.warm.place", lambda: tmp_path)
    (tmp_path / f"{os.getpid()}-kind.sock").touch()
    (tmp_path / f"{2**30}-kind.sock").touch()
    (line,) = machine_probes.warm_spawners()
    assert f"process {os.getpid()} has imported TensorFlow and waits since " in line.message


def test_one_core_is_a_warning_and_what_takes_cores_away_is_said() -> None:
    one, *_ = machine_probes.cpu(Inventory("here", (Core(0, 0),), core_note="a quota of 1 core"))
    assert one == Finding("warning", "cores", "1; a quota of 1 core", "all tasks share it")


@pytest.mark.parametrize(
    ("flags", "state", "said"),
    [
        ({"avx", "avx2", "fma", "sse"}, "ok", "AVX, AVX2, FMA"),
        ({"sse"}, "problem", "no AVX"),
    ],
)
def test_without_avx_tensorflow_cannot_run(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], state: str, said: str
) -> None:
    monkeypatch.setattr(machine_probes, "_cpu_flags", lambda: flags)
    _, line = machine_probes.cpu(host())
    assert (line.state, line.message) == (state, said)
    assert bool(line.remedy) == (state == "problem")


@pytest.mark.parametrize(("free", "state", "tasks"), [(20 << 30, "ok", "209 tasks"), (800 << 20, "warning", "2 tasks")])
def test_little_memory_is_a_warning(free: int, state: str, tasks: str) -> None:
    there = Memory(total=32 << 30, available=free)
    (line,) = machine_probes.memory(replace(host(), memory=there))
    assert (line.state, line.message.split(", ")[-1]) == (state, f"room to start about {tasks}")
    assert "(this machine has 32.0 GiB)" in line.message
    assert bool(line.remedy) == (state == "warning")


@pytest.mark.parametrize(("free", "state"), [(20 << 30, "ok"), (500 << 20, "warning")])
def test_what_the_tasks_of_a_file_need_is_compared_with_what_is_free(free: int, state: str) -> None:
    there = Memory(total=32 << 30, available=free, limit=2 << 30)
    (line,) = file_probes.memory(2, replace(host(), memory=there), EACH)
    assert line.state == state
    assert line.message.startswith("2 tasks need about 825 MiB to start, with an import of TensorFlow each; ")
    assert line.message.endswith(" is free (limit of the control group: 2.0 GiB)")
    assert bool(line.remedy) == (state == "warning")


def test_a_host_whose_memory_is_not_known_has_no_line_of_it() -> None:
    assert [*machine_probes.memory(host()), *file_probes.memory(2, host(), EACH)] == []


def test_no_driver_is_no_problem_and_a_broken_one_is_a_warning() -> None:
    assert machine_probes.gpus(host(note="no NVIDIA driver")).state == "ok"
    broken = machine_probes.gpus(host(note="the NVIDIA driver does not answer: version mismatch"))
    assert (broken.state, broken.message) == ("warning", "none (the NVIDIA driver does not answer: version mismatch)")
    assert broken.remedy


@pytest.mark.parametrize(
    ("gpus", "found", "state", "said"),
    [
        ((), {}, "ok", "built for CUDA 12.5.1, cuDNN 9; not needed without a GPU"),
        ((), {"cuda": ""}, "ok", "this TensorFlow is built without CUDA"),
        ((GPU,), {"cuda": ""}, "problem", "this TensorFlow is built without CUDA"),
        ((GPU,), {"gpus": ["/gpu:0"]}, "ok", "built for CUDA 12.5.1, cuDNN 9; sees 1 of 1 GPUs"),
        (
            (GPU,),
            {"found": ["libcudart.so.12"], "missing": ["libcudnn.so.9"]},
            "problem",
            "built for CUDA 12.5.1, cuDNN 9; sees 0 of 1 GPUs; finds libcudart.so.12; misses libcudnn.so.9",
        ),
    ],
)
def test_what_tensorflow_sees_is_compared_with_what_there_is(
    gpus: Sequence[Gpu], found: dict[str, Any], state: str, said: str
) -> None:
    line = machine_probes.cuda(host(*gpus), FOUND | found)
    assert (line.state, line.message) == (state, said)
    assert (line.remedy == "pip install 'tensorflow[and-cuda]'") == (state == "problem")


@pytest.mark.parametrize(
    ("versions", "state", "said"),
    [({}, "problem", "is not installed"), ({"tensorflow": "2.15.1"}, "problem", "2.15.1, which is not tested")],
)
def test_another_tensorflow_is_a_problem_with_the_command_that_fixes_it(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], state: str, said: str
) -> None:
    monkeypatch.setattr(machine_probes, "_version", versions.get)
    monkeypatch.setattr(machine_probes, "ask_tensorflow", lambda _: FOUND)
    line = machine_probes.tensorflow()[0][0]
    assert (line.state, line.message, line.remedy) == (state, said, "pip install 'tensorflow==2.21.*'")


def test_a_tensorflow_that_cannot_be_imported_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(returncode=1, stdout="", stderr="Traceback\nImportError: libfoo.so: cannot open")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    line = machine_probes.ask_tensorflow("2.21.0")
    assert isinstance(line, Finding)
    assert line.message == "2.21.0 cannot be imported: ImportError: libfoo.so: cannot open"


@pytest.mark.parametrize(
    ("found", "state", "said", "remedy"),
    [
        ({"way": "pasta"}, "ok", "their own, and lets connections out through pasta", ""),
        ({"closed": NOT_INSTALLED}, "warning", f"reaches nothing outside: {NOT_INSTALLED}", "install one, or --set "),
        ({"closed": "pasta: no tap"}, "warning", "reaches nothing outside: pasta: no tap", "mend that, or --set "),
        ({"name": "host", "why": "forbidden"}, "warning", "open to this host's network: forbidden", "allow user"),
    ],
)
def test_a_private_network_is_tried_with_its_way_out(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, str], state: str, said: str, remedy: str
) -> None:
    done = SimpleNamespace(returncode=0, stdout=json.dumps(asdict(Network()) | found), stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    line = machine_probes.private_network()
    assert (line.state, line.about) == (state, "private network")
    assert line.message.startswith("the tasks' ")
    assert line.message.endswith(said)
    assert line.remedy.startswith(remedy)
    assert bool(line.remedy) == bool(remedy)


def test_a_trial_of_the_network_that_fails_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(returncode=1, stdout="", stderr="Traceback:\nOSError: no pidfd\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    line = machine_probes.private_network()
    assert (line.state, line.message) == ("warning", "OSError: no pidfd")


@pytest.mark.parametrize(("docker", "state"), [("/bin/docker", "warning"), (None, "ok")])
def test_an_engine_that_does_not_answer_is_a_warning_and_none_at_all_is_not(
    monkeypatch: pytest.MonkeyPatch, docker: str | None, state: str
) -> None:
    def find() -> None:
        raise UsageError("the engine does not answer; start it")

    monkeypatch.setattr(Docker, "find", find)
    monkeypatch.setattr(shutil, "which", lambda _: docker)
    line = machine_probes.containers()
    assert (line.state, line.message, line.remedy) == (state, "the engine does not answer", "start it")


def test_the_engine_and_its_compose_have_a_version_each(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Docker(("docker", "compose"), rootless=False, version="27.1.1")
    monkeypatch.setattr(Docker, "find", lambda: engine)
    monkeypatch.setattr(Docker, "compose_version", lambda _: "2.29.1")
    assert machine_probes.containers().message == "Docker Engine 27.1.1, docker compose 2.29.1"


def test_a_network_that_is_not_made_in_time_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_probes, "_NETWORK", 0)
    line = machine_probes.private_network()
    assert (line.state, line.message) == ("warning", "could not be created within 0 s")


@pytest.mark.parametrize(
    ("tensorflow", "keras", "said"),
    [
        ("2.21.0", "3.12.0", f"3.12.0: {machine_probes._MODEL_FIT}"),
        ("2.21.0", "2.15.0", "2.15.0, which is not tested"),
        ("2.15.1", "3.12.0", "3.12.0, which is not tested"),
    ],
)
def test_of_keras_is_said_what_was_tried(
    monkeypatch: pytest.MonkeyPatch, tensorflow: str, keras: str, said: str
) -> None:
    monkeypatch.setattr(machine_probes, "_version", {"keras": keras, "tensorflow": tensorflow}.get)
    assert machine_probes.keras().message == said


# The cluster file


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("more", ["", "mode: fast\n", "run: {output: cluster.yaml/runs}\n"])
def test_doctor_says_what_check_says(place: Path, more: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = read_memory()  # once: what is free changes while the two look
    monkeypatch.setattr("launcher.host.inventory.read_memory", lambda: there)
    (place / "cluster.yaml").write_text(FILE + more)
    check, page = (json.loads(CliRunner().invoke(launcher, [verb, "--json"]).output) for verb in ("check", "doctor"))
    assert all({key: one[key] for key in one if key != "ok"} in page["lines"] for one in check["checks"])
    assert check["checks"]


@pytest.mark.parametrize(
    ("file", "overrides", "where", "message"),
    [
        ("args: {password: hunter2}\n", (), "cluster.yaml:4", "args.password: is wrong"),
        ("", ("args.password=hunter2",), "--set", "args.password: is wrong"),
        ("", ("hunter2",), "--set", "is wrong"),
        ("", ("cluster.worker.env.KEY={a: hunter2}",), "--set", "cluster.worker.env.KEY: is wrong"),
    ],
)
def test_no_value_of_args_env_or_set_is_shown(
    place: Path, file: str, overrides: Sequence[str], where: str, message: str
) -> None:
    (place / "cluster.yaml").write_text(FILE.replace("hello", "linear_regression") + file)
    lines = list(doctor.cluster(Path("cluster.yaml"), overrides))
    assert "hunter2" not in str(lines)
    (line,) = (line for line in lines if not line.ok)
    assert (line.about, line.message) == (where, message)
    assert line.remedy == "launcher check cluster.yaml shows it, with its value"


def test_a_variable_of_the_environment_that_is_wrong_is_not_shown(place: Path) -> None:
    (place / "cluster.yaml").write_text(FILE.replace("2", "{tasks: 2, env: {KEY: [hunter2]}}"))
    (line,) = doctor.cluster(Path("cluster.yaml"), ())
    assert (line.about, line.message) == ("cluster.yaml:3", "cluster.worker.env.KEY: is wrong")


def test_a_file_that_was_named_and_is_not_there_is_a_problem(place: Path) -> None:
    (place / "cluster.yaml").write_text(FILE)
    (line,) = doctor.cluster(Path("clutser.yaml"), ())
    assert (line.about, line.message) == ("clutser.yaml", "there is no such file; did you mean 'cluster.yaml'?")


def test_ports_on_other_machines_are_not_called_free(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "cluster.yaml").write_text("job: hello\ncluster:\n  worker: [node-a.invalid:1, node-b.invalid:1]\n")
    monkeypatch.setattr(file_probes, "resolves", lambda _: True)
    lines = [line.message for line in doctor.cluster(Path("cluster.yaml"), ()) if line.about == "ports"]
    assert lines == ["none of the file's ports is on this machine"]


def test_hosts_without_an_address_are_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "cluster.yaml").write_text("job: hello\ncluster:\n  worker: [node-a:1, node-b:1, node-c:1]\n")
    monkeypatch.setattr(file_probes, "resolves", lambda name: name == "node-c")
    lines = [line for line in doctor.cluster(Path("cluster.yaml"), ()) if line.about == "hosts"]
    assert [(line.state, line.message) for line in lines] == [("problem", "no address for node-a, node-b")]
