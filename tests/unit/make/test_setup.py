"""`make setup` and `make setup-dev`: which Python they take, what they install, and what a failure leaves."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.unit.make.conftest import INSTALLED, INSTALLED_DEV, LACKS_ENSUREPIP, ROOT, Tree


def test_the_first_run_installs_and_the_second_starts_at_once(tree: Tree) -> None:
    tree.add_python()
    assert tree.make("run").returncode == 0
    assert tree.done() == ["venv by 3.11", INSTALLED, "-m launcher run"]
    second = tree.make("run")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert tree.done() == ["-m launcher run"]


def test_without_python_the_remedy_is_printed(tree: Tree) -> None:
    made = tree.make("run")
    assert made.returncode == 2
    assert "There is no Python on PATH" in made.stderr
    assert "apt-get install python3 python3-venv" in made.stderr
    tree.add_python()
    assert tree.make("run").returncode == 0


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.10", "3.14"])
def test_a_python_that_tensorflow_does_not_support_is_named_with_the_remedy(tree: Tree, version: str) -> None:
    tree.add_python(version=version)
    made = tree.make("setup")
    assert made.returncode == 2
    assert f"needs Python 3.11 to 3.13, but python3 is Python {version}." in made.stderr
    assert "make run PYTHON=" in made.stderr
    assert tree.done() == []
    assert not (tree.directory / ".venv").exists()


def test_a_supported_python_is_found_behind_an_old_python3_and_a_dead_shim(tree: Tree) -> None:
    tree.add_python(version="3.9")
    tree.add_tool("python3.13", "#!/bin/sh\nexit 127\n")
    tree.add_python("python3.12", version="3.12")
    assert tree.make("setup").returncode == 0
    assert tree.done() == ["venv by 3.12", INSTALLED]


def test_the_python_that_is_named_is_used(tree: Tree) -> None:
    tree.add_python()
    other = tree.add_python("other python", version="3.13")
    assert tree.make("setup").returncode == 0
    assert tree.make("setup", f"PYTHON={other}").returncode == 0
    assert tree.done()[-2:] == ["venv by 3.13", INSTALLED]
    assert tree.make("setup").returncode == 0, "any supported .venv is used if no Python is named"
    assert tree.done() == []
    made = tree.make("setup", "PYTHON=/nowhere/python")
    assert made.returncode == 2
    assert "PYTHON=/nowhere/python does not run" in made.stderr


def test_without_the_venv_module_the_package_is_named(tree: Tree) -> None:
    tree.add_python(venv=LACKS_ENSUREPIP)
    made = tree.make("run")
    assert made.returncode == 2
    assert "ensurepip is not available" in made.stderr
    assert "apt-get install python3.11-venv" in made.stderr
    assert not (tree.directory / ".venv").exists()
    tree.add_python()
    assert tree.make("run").returncode == 0


def test_development_tools_are_added_to_a_venv_that_runs_and_setup_keeps_them(tree: Tree) -> None:
    tree.add_python()
    assert tree.make("setup").returncode == 0
    assert tree.done() == ["venv by 3.11", INSTALLED]
    assert "adding the development tools" in tree.make("setup-dev").stderr
    assert tree.done() == [INSTALLED_DEV]
    assert tree.make("setup").returncode == 0
    assert tree.make("setup-dev").returncode == 0
    assert tree.done() == []


def test_changed_development_requirements_concern_development_only(tree: Tree) -> None:
    tree.add_python()
    assert tree.make("setup-dev").returncode == 0
    tree.done()
    with (tree.directory / "requirements-dev.txt").open("a") as file:
        file.write("six\n")
    assert tree.make("setup").returncode == 0
    assert tree.done() == []
    assert tree.make("setup-dev").returncode == 0
    assert tree.done() == [INSTALLED_DEV]


def test_development_tools_that_cannot_be_installed_leave_a_venv_that_runs(tree: Tree) -> None:
    tree.add_python()
    assert tree.make("setup").returncode == 0
    tree.done()
    tree.replace_venv_python(pip="echo no network >&2; exit 1")
    made = tree.make("setup-dev")
    assert made.returncode == 2
    assert "pip could not install requirements-dev.txt" in made.stderr
    assert tree.done() == [INSTALLED_DEV]
    assert tree.make("run").returncode == 0
    assert tree.done() == ["-m launcher run"]


def test_interrupted_development_tools_are_built_again(tree: Tree) -> None:
    tree.add_python()
    assert tree.make("setup").returncode == 0
    tree.done()
    tree.replace_venv_python(pip="kill -9 $PPID")
    assert tree.make("setup-dev").returncode != 0
    assert "an earlier install was interrupted" in tree.make("setup-dev").stderr
    assert tree.done() == [INSTALLED_DEV, "venv by 3.11", INSTALLED_DEV]


def test_development_requirements_begin_with_what_running_needs_and_repeat_nothing() -> None:
    first, *rest = (ROOT / "requirements-dev.txt").read_text().splitlines()
    assert first == "-r requirements.txt"
    running = {line.partition(">=")[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if line}
    assert not running & {line.partition(">=")[0] for line in rest if line}


def test_a_pip_that_fails_is_reported_and_the_next_run_works(tree: Tree) -> None:
    tree.add_python(pip="echo no network >&2; exit 1")
    made = tree.make("run")
    assert made.returncode == 2
    assert made.stderr.index("no network") < made.stderr.index("pip could not install requirements.txt")
    assert "-m launcher run" not in tree.done()
    tree.add_python()
    assert tree.make("run").returncode == 0
    assert tree.done() == ["venv by 3.11", INSTALLED, "-m launcher run"]


def test_an_interrupted_install_is_built_again(tree: Tree) -> None:
    tree.add_python(pip="kill -9 $PPID")
    assert tree.make("run").returncode != 0
    (left := tree.directory / ".venv/left").touch()
    tree.add_python()
    made = tree.make("run")
    assert made.returncode == 0
    assert "an earlier install was interrupted" in made.stderr
    assert not left.exists()


def test_a_venv_of_the_users_own_is_kept(tree: Tree) -> None:
    (tree.directory / ".venv/bin").mkdir(parents=True)
    shutil.copy(tree.add_python(version="3.13"), tree.directory / ".venv/bin/python")
    assert tree.make("setup").returncode == 0
    assert tree.done() == [INSTALLED]


def test_a_venv_whose_python_is_gone_is_built_again(tree: Tree) -> None:
    tree.add_python()
    assert tree.make("setup").returncode == 0
    (tree.directory / ".venv/bin/python").unlink()
    (tree.directory / ".venv/bin/python").symlink_to("/nowhere/python")
    tree.done()
    assert tree.make("setup").returncode == 0
    assert tree.done() == ["venv by 3.11", INSTALLED]


def test_changed_requirements_are_installed_into_the_same_venv(tree: Tree) -> None:
    tree.add_python()
    assert tree.make("setup").returncode == 0
    tree.done()
    with (tree.directory / "requirements.txt").open("a") as file:
        file.write("six\n")
    assert tree.make("setup").returncode == 0
    assert tree.done() == [INSTALLED]


def test_nvidia_gpus_bring_tensorflows_cuda_libraries(tree: Tree) -> None:
    tree.add_python()
    assert tree.make("setup").returncode == 0
    tree.done()
    tree.add_tool("nvidia-smi", "#!/bin/sh\necho 'GPU 0: H200'\n")
    assert tree.make("setup").returncode == 0
    assert tree.done() == [INSTALLED.replace("-e .", "tensorflow[and-cuda]>=2.21,<2.22 -e .")]


def test_a_driver_without_gpus_installs_the_plain_tensorflow(tree: Tree) -> None:
    tree.add_python()
    tree.add_tool("nvidia-smi", "#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    assert tree.make("setup").returncode == 0
    assert tree.done() == ["venv by 3.11", INSTALLED]


def test_two_set_ups_at_once_install_once(tree: Tree) -> None:
    tree.add_python(pip="sleep 0.5")
    command = ["make", "setup"]
    both = [subprocess.Popen(command, cwd=tree.directory, env=tree.environment()) for _ in range(2)]
    assert [make.wait(timeout=60) for make in both] == [0, 0]
    assert tree.done() == ["venv by 3.11", INSTALLED]
