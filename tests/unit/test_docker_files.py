"""The image as its Dockerfile writes it down, and what of the checkout its build gets to see."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from launcher.engines.compose.containers import DIRECTORY
from launcher.engines.compose.file import DOCKERFILE, IMAGES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / DOCKERFILE).read_text(encoding="utf-8")
READY_FILE = "/tmp/launcher-ready"
TENSORFLOW = re.compile(r"^tensorflow\S*", re.MULTILINE)


def instructions(text: str) -> list[tuple[str, str]]:
    """Return each instruction and what it is given, comments left out and continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    joined = lines.replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage; what comes before the first one is a stage too."""
    found: list[list[tuple[str, str]]] = [[]]
    for instruction in instructions(TEXT):
        if instruction[0] == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found


def the_last(word: str) -> str:
    """Return what the last of these instructions in the last stage says."""
    return [rest for there, rest in stages()[-1] if there == word][-1]


def environment() -> dict[str, str]:
    words = [word for there, rest in stages()[-1] if there == "ENV" for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


# The base


def test_every_stage_is_made_of_the_base_image_that_is_asked_for() -> None:
    before, *rest = stages()
    assert before == [("ARG", "BASE_IMAGE=python:3.12-slim")]
    assert [stage[0][1].split(" AS ")[0] for stage in rest] == ["${BASE_IMAGE}"] * len(rest)


def test_the_base_image_is_the_one_that_a_rendered_file_asks_for() -> None:
    assert '"${BASE_IMAGE:-python:3.12-slim}"' in (ROOT / "docker" / "compose.yaml").read_text()


def test_the_comment_says_how_both_images_are_built() -> None:
    commands = re.findall(r"^#   (docker build .*)$", TEXT, re.MULTILINE)
    assert commands == [
        f"docker build --file {DOCKERFILE} --tag {IMAGES}:cpu .",
        f"docker build --file {DOCKERFILE} --tag {IMAGES}:gpu --build-arg TENSORFLOW=gpu .",
    ]


# The packages


def test_packages_come_before_code_so_that_a_changed_job_installs_nothing_again() -> None:
    _, packages, image = stages()
    assert not [rest for word, rest in packages if word == "COPY" and rest.split()[0] != "requirements.txt"]
    copied = [rest.split() for word, rest in image if word in ("COPY", "ADD")]
    assert copied[0][0] == "--from=packages"
    assert [source for source, _ in copied[1:]] == ["launcher", "jobs"]
    assert "pip" not in " ".join(rest for word, rest in image if word == "RUN")


def wanted(kind: str, machine: str, directory: Path) -> str:
    """Run what the Dockerfile runs, with everything but text processing left out; return what would be installed."""
    (run,) = [rest for word, rest in stages()[1] if word == "RUN" and "wanted.txt" in rest]
    script = run.partition("&& python -m pip")[0].replace("$(uname -m)", machine)
    for name in ("requirements.txt", "wanted.txt"):
        script = script.replace(f"/tmp/{name}", shlex.quote(str(directory / name)))
    (directory / "requirements.txt").write_text((ROOT / "requirements.txt").read_text())
    subprocess.run(["sh", "-c", script], env={"TENSORFLOW": kind, "PATH": "/usr/bin:/bin"}, check=True, timeout=30)
    return (directory / "wanted.txt").read_text()


@pytest.mark.parametrize(
    ("kind", "machine", "wheel"),
    [
        ("cpu", "x86_64", "tensorflow-cpu"),
        ("cpu", "aarch64", "tensorflow"),
        ("gpu", "x86_64", "tensorflow[and-cuda]"),
        ("gpu", "aarch64", "tensorflow[and-cuda]"),
    ],
)
def test_the_image_gets_the_tensorflow_of_its_kind_and_machine_at_the_same_version(
    tmp_path: Path, kind: str, machine: str, wheel: str
) -> None:
    (pinned,) = TENSORFLOW.findall((ROOT / "requirements.txt").read_text())
    (found,) = TENSORFLOW.findall(wanted(kind, machine, tmp_path))
    assert found == pinned.replace("tensorflow", wheel, 1)


def test_the_image_gets_what_a_task_imports_and_no_tool(tmp_path: Path) -> None:
    text = wanted("cpu", "x86_64", tmp_path)
    names = {re.split(r"[^\w-]", line, maxsplit=1)[0].lower() for line in text.splitlines() if line[:1].isalpha()}
    assert {"click", "pydantic", "pyyaml", "rich"} <= names
    assert not {"ruff", "mypy", "pytest", "hypothesis", "import-linter", "types-pyyaml"} & names


def test_another_kind_of_tensorflow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        wanted("tpu", "x86_64", tmp_path)


# The container


def test_a_container_is_nobodys_root() -> None:
    assert the_last("USER") == "launcher"
    assert "useradd --uid 1000 --create-home launcher" in [rest for word, rest in stages()[-1] if word == "RUN"]
    # Whatever comes after the user is changed would run as that user; nothing is installed there.
    words = [word for word, _ in stages()[-1]]
    assert not {"RUN", "COPY", "ADD"} & set(words[words.index("USER") :])


def test_a_container_is_healthy_while_its_launcher_keeps_the_ready_file() -> None:
    options, _, command = the_last("HEALTHCHECK").partition(" CMD ")
    assert json.loads(command) == ["test", "-e", READY_FILE]
    assert environment()["LAUNCHER_READY_FILE"] == READY_FILE
    assert {option.split("=")[0] for option in options.split()} == {
        "--interval", "--timeout", "--start-period", "--retries",
    }  # fmt: skip


def test_a_container_starts_the_launcher_and_without_a_verb_its_help() -> None:
    # As a list: a shell in between would keep the signals that stop it.
    assert json.loads(the_last("ENTRYPOINT")) == ["python", "-P", "-m", "launcher"]
    assert json.loads(the_last("CMD")) == ["--help"]
    assert environment()["PYTHONPATH"] == "/app"
    assert environment()["PATH"].startswith("/opt/venv/bin:")
    assert the_last("WORKDIR") == DIRECTORY


def test_any_user_has_a_home_that_can_be_written() -> None:
    assert environment()["HOME"] == "/tmp"


# What the build sees


def test_the_build_sees_exactly_what_the_dockerfile_copies() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"  # later lines win
    let_through = {line[1:].strip("/") for line in lines if line[0] == "!"}
    copied = {
        source
        for word, rest in instructions(TEXT)
        if word in ("COPY", "ADD") and not rest.startswith("--from=")
        for source in rest.split()[:-1]
    }
    assert let_through == copied
    assert all((ROOT / name).exists() for name in copied)


def test_the_build_sees_nothing_that_python_leaves_behind() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "**/__pycache__" in lines[lines.index("!jobs") :]
