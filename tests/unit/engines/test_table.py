"""The table of engines."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from launcher.engines import table
from launcher.engines.compose import engine as compose
from launcher.engines.engine import Engine
from launcher.engines.local import engine as local
from launcher.errors import SpecError, UsageError

TYPED: dict[str, Engine] = {"local": local, "compose": compose}  # mypy looks whether they are engines


def test_every_engine_is_found_by_its_name() -> None:
    assert {name: table.find(name) for name in table.ENGINES} == TYPED


def test_an_engine_that_there_is_not_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError) as caught:
        table.find("composs")
    assert str(caught.value) == "there is no engine 'composs'; did you mean 'compose'? Engines: local, compose"
    assert caught.value.exit_code == 2


def test_the_file_may_name_every_engine_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("job: hello\ncluster: {worker: 1}\nrun:\n  on: x\n")
    assert {table.load(path, [f"run.on={name}"]).spec.run.on for name in table.ENGINES} == set(table.ENGINES)
    with pytest.raises(SpecError) as caught:
        table.load(path)
    assert str(caught.value) == f"{path}:4: run.on: there is no engine 'x'; engines: local, compose"


def test_without_a_word_the_tasks_are_processes_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("job: hello\ncluster: {worker: 1}\n")
    assert table.load(tmp_path / "cluster.yaml").spec.run.on == "local"


def test_an_engine_is_imported_when_it_is_used_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("job: hello\ncluster: {worker: 1}\nrun: {on: compose}\n")
    code = (
        "import sys; from pathlib import Path; from launcher.engines.table import find, load; "
        f"load(Path({str(path)!r})); print([name for name in sys.modules if name.startswith('launcher.engines.')]); "
        "find('local'); print('launcher.engines.compose' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.splitlines() == ["['launcher.engines.table']", "False"]


def test_nothing_but_the_compose_engine_and_the_doctor_knows_of_docker() -> None:
    root = Path(str(import_module("launcher").__file__)).parent
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if "import Docker" in path.read_text() or '"docker"' in path.read_text()
    }
    assert {name for name in found if not name.startswith("engines/compose/")} <= {
        "commands/machine_probes.py",
    }
