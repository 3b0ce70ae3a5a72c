"""``launcher run --plan``: what was placed elsewhere is started here, and not placed again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.engines.compose.containers import inside
from launcher.engines.table import load
from launcher.errors import UsageError
from launcher.plan.plan import Plan
from launcher.rundir import RunFiles
from launcher.whole_files import write_json
from tests.unit.commands.train.launches import DONE, FakeLaunch, call
from tests.unit.engines.compose.made import in_containers, machine_with


@pytest.fixture
def plan(launch: type[FakeLaunch], tmp_path: Path) -> Plan:
    """A plan of cores that this machine has not, and no cluster file beside it."""
    assert not hasattr(launch, "plan")
    overrides = ["cluster.worker.cpus=1", "args.x=$y", "run.start_timeout=90s"]
    seen = inside(in_containers(tmp_path / "cluster.yaml", machine_with((970, 971)), overrides))
    run = seen.spec.run.model_copy(update={"output": str(tmp_path / "out")})
    plan = replace(seen, spec=seen.spec.model_copy(update={"run": run}), directory=str(tmp_path))
    write_json(tmp_path / "any.json", plan.to_dict())
    (tmp_path / "cluster.yaml").unlink()
    return plan


def test_its_tasks_start_as_they_were_placed(launch: type[FakeLaunch], plan: Plan) -> None:
    result = call("--plan", "any.json", "--task", "worker:1", "--run", "night")
    assert result.exit_code == 0
    assert launch.plan == plan
    assert (launch.tasks, launch.network) == (("worker:1",), "host")
    assert launch.plan.tasks[1].cores == (971,)


def test_the_run_has_the_plan_and_a_cluster_file_that_means_the_same(
    launch: type[FakeLaunch], plan: Plan, tmp_path: Path
) -> None:
    call("--plan", "any.json", "--task", "worker:0", "--run", "night")
    assert launch.files == RunFiles(tmp_path / "out" / "night")
    assert Plan.from_dict(json.loads(launch.files.plan.read_text())) == plan
    assert load(launch.files.cluster_file).spec == plan.spec


@pytest.mark.usefixtures("plan")
def test_a_run_that_another_launcher_has_begun_keeps_its_files(launch: type[FakeLaunch]) -> None:
    call("--plan", "any.json", "--task", "worker:0", "--run", "night")
    launch.files.cluster_file.write_text("job: hello\ncluster: {worker: 2}\n# another launcher's\n")
    call("--plan", "any.json", "--task", "worker:1", "--run", "night")
    assert launch.files.cluster_file.read_text().endswith("# another launcher's\n")


@pytest.mark.usefixtures("plan")
def test_an_unfinished_run_continues_and_one_that_is_done_does_not(launch: type[FakeLaunch]) -> None:
    call("--plan", "any.json", "--task", "worker:0", "--run", "night")
    files = launch.files
    write_json(files.result, {**DONE.to_dict(), "status": "stopped"})
    assert call("--plan", "any.json", "--task", "worker:0", "--run", "night").exit_code == 0
    assert launch.files == files
    write_json(files.result, DONE.to_dict())
    said = call("--plan", "any.json", "--task", "worker:0", "--run", "night").output
    assert said == "night is finished (17000 steps): nothing to do.\n"


@pytest.mark.usefixtures("plan")
def test_another_directory_is_where_its_paths_start(launch: type[FakeLaunch], tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    call("--plan", "any.json", "--task", "worker:0", "--directory", "code")
    assert launch.plan.directory == str(tmp_path / "code")


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize(
    "option", [("--set", "mode=async"), ("--on", "local"), ("--resume", "latest"), ("cluster.yaml",)], ids=" ".join
)
def test_what_was_placed_is_not_changed_any_more(option: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        call("--plan", "any.json", *option)
    assert (
        str(caught.value)
        == "--plan: the plan was made before and does not change; leave FILE, --set, --on and --resume out"
    )
    assert not Path("out").exists()


@pytest.mark.usefixtures("plan")
def test_what_the_environment_sets_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_SET", "mode=async")
    with pytest.raises(UsageError, match=r"^--plan: the plan was made before"):
        call("--plan", "any.json")


@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize(
    ("text", "sentence"),
    [(None, "gone.json cannot be read"), ("{", "gone.json cannot be read"), ("{}", "this is not a plan of launcher")],
)
def test_what_is_no_plan_is_a_sentence(text: str | None, sentence: str) -> None:
    if text is not None:
        Path("gone.json").write_text(text)
    with pytest.raises(UsageError, match=f"^{sentence}"):
        call("--plan", "gone.json")


def test_the_old_word_for_containers_says_the_new_one(launch: type[FakeLaunch]) -> None:
    with pytest.raises(UsageError) as caught:
        call("--compose")
    assert str(caught.value) == "--compose is now --on compose"
    assert not hasattr(launch, "plan")


def test_an_engine_that_there_is_not_is_refused_at_the_option(launch: type[FakeLaunch]) -> None:
    with pytest.raises(UsageError) as caught:
        call("--on", "lokal")
    assert str(caught.value) == "--on: there is no engine 'lokal'; did you mean 'local'? Engines: local, compose"
    assert not hasattr(launch, "plan")
