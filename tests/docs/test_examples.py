"""The files and the answers that the pages show are those that a user gets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jsonschema
import pytest
import yaml

from launcher.engines.local.network.settled import Network
from launcher.errors import SpecError
from tests.docs.pages import PAGES, README, ROOT, asked, block_named, blocks, named_files
from tests.unit.plan.machines import machine

TAKE = "launcher.commands.train.plan.take"  # reads this machine
EXPECTED = "launcher.engines.local.engine.expected"  # what this machine has for a private network
DOCS = "\n".join(page.read_text() for page in PAGES)
FILES = {name: content for page in PAGES for name, content in named_files(page)}


def planned(file: Path, there: object, *options: str) -> str:
    """Return what ``launcher plan`` says of a file on a machine that was invented."""
    with patch(TAKE, return_value=there), patch(EXPECTED, return_value=Network(way="pasta")):
        return asked("plan", *options, str(file))


def values(file: Path) -> dict[str, Any]:
    """Return each value of a cluster file by its dotted key, defaults included."""
    return {
        key: one["value"] for key, one in json.loads(asked("config", "show", "--json", "--file", str(file))).items()
    }


def cluster_files() -> Iterator[str]:
    for block in blocks("yaml"):
        assert {"job", "cluster"} <= yaml.safe_load(block).keys(), f"not a whole cluster file:\n{block}"
        yield block


@pytest.mark.parametrize("content", list(cluster_files()))
def test_a_cluster_file_that_is_shown_is_right_for_launcher_and_schema(tmp_path: Path, content: str) -> None:
    (tmp_path / "cluster.yaml").write_text(content)
    assert values(tmp_path / "cluster.yaml")
    jsonschema.validate(yaml.safe_load(content), json.loads(asked("config", "schema")))


def test_the_cluster_file_of_the_readme_means_what_the_committed_one_does(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(block_named("yaml", "name: linear-regression"))
    assert values(tmp_path / "cluster.yaml") == values(ROOT / "cluster.yaml")


def test_the_short_form_of_a_job_means_what_the_long_one_does(tmp_path: Path) -> None:
    plans = []
    for name in ("short.yaml", "long.yaml"):
        (tmp_path / name).write_text(FILES[name])
        plans.append(planned(tmp_path / name, machine()))
    assert plans[0] == plans[1]


def test_the_problems_that_are_shown_are_the_ones_a_user_gets(tmp_path: Path) -> None:
    content = "job: hello\n\ncluster:\n\n  worker:\n\n    taks: 2\nrun:\n  start_timeout: 60"
    (tmp_path / "cluster.yaml").write_text(content)
    with pytest.raises(SpecError) as caught:
        asked("plan", str(tmp_path / "cluster.yaml"))
    assert str(caught.value).replace(f"{tmp_path}/", "") in DOCS


def test_the_plan_of_the_readme_is_the_one_a_user_gets() -> None:
    assert planned(ROOT / "cluster.yaml", machine(cores=2)) in README.read_text()


@pytest.mark.parametrize(
    ("name", "gpus", "strategy", "communication"),
    [
        ("four-gpus.yaml", 4, "MirroredStrategy", "NCCL"),
        ("eight-gpus.yaml", 8, "MultiWorkerMirroredStrategy", "NCCL"),
        ("one-gpu.yaml", 1, "MultiWorkerMirroredStrategy", "RING"),
        ("laptop.yaml", 0, "MirroredStrategy", "RING"),
    ],
)
def test_the_files_for_machines_with_gpus_mean_what_the_page_says(
    tmp_path: Path, name: str, gpus: int, strategy: str, communication: str
) -> None:
    file = tmp_path / name
    file.write_text(FILES[name])
    there = machine(gpus, cores=128, sockets=2 if gpus == 8 else 1)
    plan = json.loads(planned(file, there, "--json"))
    assert (plan["strategy"], plan["communication"]) == (strategy, communication)
    assert {gpu for task in plan["tasks"] for gpu in task["gpus"]} == set(range(gpus))


def test_the_map_of_eight_gpus_is_the_one_a_user_gets(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```text\n(node-a +node 0 +cores 0-7.*?)```", DOCS, re.DOTALL)
    (tmp_path / "eight-gpus.yaml").write_text(FILES["eight-gpus.yaml"])
    assert shown in planned(tmp_path / "eight-gpus.yaml", machine(8, cores=128, sockets=2))


def test_the_table_of_exit_codes_has_those_that_help_tells_of() -> None:
    page = (ROOT / "docs" / "run-directory.md").read_text()
    told = " ".join(asked("run", "--help").split()).partition("Exit codes: ")[2]
    codes = re.findall(r"(?:^|; )(\d+(?:, \d+)*) ", told)
    assert codes == re.findall(r"^\| (\d[\d, ]*) \|", page, re.MULTILINE)
