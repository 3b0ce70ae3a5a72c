"""run.keep_warm: the next run of the same user and environment forks its tasks from the import of the one before."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from launcher.engines.local.warm import waiting
from tests.support.processes import all_gone, survivors, warm_spawners
from tests.support.workplace import Ran, Workplace, read_until

# Says which process its own was forked for, a word, and a variable.
SAYING = """
import multiprocessing.process, os, time
from jobs.hello import Hello

class Saying(Hello):
    def evaluate(self):
        assert multiprocessing.process.ORIGINAL_DIR == os.getcwd()
        print("OF", os.getppid(), {word!r}, os.environ.get("OWN"), flush=True)
        while os.path.exists("hold"):
            time.sleep(0.05)
        return {{"done": 1}}
"""


class WarmPlace(Workplace):
    """A place whose runs keep their spawner warm."""

    def begin(self, word: str = "word", keep_warm: str = "5m", **environment: str) -> subprocess.Popen[str]:
        """Start a run whose one task says this word."""
        (self.directory / "saying.py").write_text(SAYING.format(word=word))
        self.write(job="saying.py", args={}, cluster={"worker": 1}, run={"keep_warm": keep_warm})
        self.environment |= environment
        return self.start("run")

    def go(self, word: str = "word", keep_warm: str = "5m", **environment: str) -> tuple[Ran, int]:
        """Run it to its end; return also the process that has owned it."""
        ran = self.finish(self.begin(word, keep_warm, **environment))
        assert ran.code == 0, ran.output
        (said,) = (line for line in ran.said_by("worker:0") if line.startswith("OF "))
        _, owner, *rest = said.split()
        assert rest == [word, environment.get("OWN", "None")]
        return ran, int(owner)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WarmPlace]:
    with warm_spawners() as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        with WarmPlace(tmp_path) as there:
            yield there


def test_the_next_run_takes_the_warm_spawner_with_its_own_code_and_variables(place: WarmPlace) -> None:
    _, owner = place.go()
    assert [warm.pid for warm in waiting()] == [owner]
    assert [child.cmdline()[3] for child in psutil.Process(owner).children()] == ["launcher.runtime.forkserver"]
    _, again = place.go("other", OWN="x")
    assert again == owner
    assert survivors(place.directory) == []
    assert [warm.pid for warm in waiting()] == [owner]


def test_the_next_run_trains_in_a_directory_of_its_own(place: WarmPlace, tmp_path: Path) -> None:
    _, owner = place.go()
    (tmp_path / "other").mkdir()
    other = WarmPlace(tmp_path / "other", **place.environment)
    assert other.go()[1] == owner
    shutil.rmtree(place.directory / "runs")
    ran = other.run(cluster={"worker": 1}, run={"keep_warm": "5m"})
    assert ran.metrics, ran.output
    assert [warm.pid for warm in waiting()] == [owner]


def test_another_environment_gets_a_spawner_of_its_own(place: WarmPlace) -> None:
    _, owner = place.go()
    _, another = place.go(TF_CPP_MIN_LOG_LEVEL="3")  # which TensorFlow reads at its import
    assert another != owner
    assert {warm.pid for warm in waiting()} == {owner, another}


def test_a_launcher_that_is_killed_leaves_no_task_and_a_spawner_for_the_next_run(place: WarmPlace) -> None:
    _, owner = place.go()
    (place.directory / "hold").touch()
    launcher = place.begin()
    read_until(launcher, "OF ")
    assert list(waiting()) == []  # it serves one launcher at a time
    tasks = survivors(place.directory)
    launcher.kill()
    assert len(tasks) == 1
    assert all_gone(tasks)
    (place.directory / "hold").unlink()
    while not list(waiting()):
        assert psutil.pid_exists(owner)
    assert place.go()[1] == owner


def test_a_spawner_that_was_killed_is_no_obstacle_and_one_whose_time_is_over_has_ended(place: WarmPlace) -> None:
    _, owner = place.go()
    psutil.Process(owner).kill()
    (stale,) = waiting()
    _, another = place.go(keep_warm="1s")
    assert another != owner
    assert not stale.path.exists()
    while list(waiting()):
        pass
    assert not psutil.pid_exists(another) or all_gone([psutil.Process(another)])


def test_a_warm_spawner_that_was_stopped_is_named_and_ended_and_another_one_started(place: WarmPlace) -> None:
    _, owner = place.go()
    stopped = psutil.Process(owner)
    family = [stopped, *stopped.children()]
    stopped.suspend()
    ran, another = place.go()
    assert another != owner
    assert f"(process {owner}) has given no answer for 5 s; it is ended, and another one started" in ran.output
    assert all_gone(family)
    assert [warm.pid for warm in waiting()] == [another]
