"""``launcher run`` whose tasks the kernel really kills as memory runs out: the cause, and how often it restarts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.memory_group import memory_group
from tests.support.processes import survivors
from tests.support.workplace import ROOT, Workplace

LIMIT = 256 << 20  # bytes: four times what the launcher and the small programs take
NAMED = (
    "killed by the kernel because memory ran out (limit of the control group: 256 MiB); run fewer tasks on this machine"
)
COUNTED = (
    "killed by SIGKILL when memory had run out (limit of the control group: 256 MiB), so most likely by the kernel"
)
# In a namespace of its own the launcher does not know the numbers by which the kernel's log calls its tasks.
APART = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    """A place for launchers that have little memory."""
    path = f"{ROOT / 'tests' / 'support' / 'small'}:{ROOT}"
    environment = {"PYTHONPATH": path, "LAUNCHER_READY_FILE": "", "LAUNCHER_SMALL_PAUSE": "0.01"}
    with ExitStack() as stack:
        try:
            start = stack.enter_context(memory_group(LIMIT))
        except OSError as error:
            why = f"no control group can be made here: {error}"
            assert not os.environ.get("CI"), why
            pytest.skip(why)
        place = stack.enter_context(Workplace(tmp_path, **environment))
        place.command = (*start, *place.command)
        yield place


def words(place: Workplace, *words: str) -> None:
    """Let the tasks do what the words say; the import of TensorFlow, to fork them from, would fill the memory."""
    place.environment["LAUNCHER_SMALL_TASK"] = "\n".join(words)


@pytest.mark.parametrize(("apart", "said"), [((), NAMED), (APART, COUNTED)], ids=["named", "counted"])
def test_a_task_that_the_kernel_killed_once_is_restarted_and_the_cause_names_memory_and_its_limit(
    place: Workplace, apart: tuple[str, ...], said: str
) -> None:
    words(place, "ready", "worker:0/step=1", "worker:1/first/eat", "first/sleep=600", "result", "exit=0")
    place.command = (*place.command[:3], *apart, sys.executable, "-m", "launcher")
    ran = place.run(job="hello", args={}, run={"start_method": "spawn"})
    assert (ran.code, ran.result["attempts"]) == (0, 2), ran.output
    (failed,) = ran.events("failed")
    assert (failed["task"], failed["attempt"]) == ("worker:1", 1)
    assert failed["cause"].startswith(said)
    assert survivors(place.directory) == []


def test_a_task_that_runs_out_of_memory_again_and_comes_no_further_ends_the_run_with_the_cause(
    place: Workplace,
) -> None:
    words(place, "ready", "worker:0/step=1", "worker:1/eat", "sleep=600")
    ran = place.run(job="hello", args={}, run={"restarts": 9, "start_method": "spawn"})
    assert (ran.code, ran.result["attempts"]) == (1, 2), ran.output
    assert ran.result["cause"]["task"] == "worker:1"
    assert ran.result["cause"]["error"].startswith(NAMED)
    assert ran.result["cause"]["error"].endswith("; same failure as in attempt 1, at the same step")
    assert f"worker:1 failed: {NAMED}" in ran.output
    assert survivors(place.directory) == []


def test_a_task_that_somebody_kills_is_not_said_to_lack_memory(place: Workplace) -> None:
    words(place, "ready", "step=1", "worker:1/kill=SIGKILL", "sleep=600")
    ran = place.run(job="hello", args={}, run={"restarts": 0, "start_method": "spawn"})
    assert ran.result["cause"]["error"] == "killed by SIGKILL"
