"""What a run of real processes says of a failure: whose it is, and what to do."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path

import pytest

from launcher.engines.local.process import Processes
from launcher.errors import LauncherError
from tests.unit.engines.local.conftest import MakeLaunch


def test_a_run_that_never_gets_ready_ends_with_exit_code_3(
    make_launch: MakeLaunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.supervise.supervisor.FORMING_GRACE", 0.0)
    launch, _, _ = make_launch("sleep=600", start_timeout="500ms")
    outcome = launch.run()
    assert outcome.exit_code == 3
    assert outcome.result.cause is not None
    assert "worker:0" in outcome.result.cause["error"]


def test_a_task_that_the_kernel_does_not_end_is_named_and_left_behind_within_the_grace(
    make_launch: MakeLaunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill, number = Processes.kill, signal.SIGKILL
    monkeypatch.setattr(Processes, "kill", lambda self, task, asked: asked == number or kill(self, task, asked))
    launch, files, screen = make_launch("ignore", "ready", "step=1", "say=go", "sleep=600", grace="1s")
    screen.on_line = lambda _: os.kill(os.getpid(), signal.SIGTERM)
    assert launch.run().exit_code == 143
    said = screen.notes[-1]
    assert said.startswith("worker:0: its process ")
    assert said.endswith(" was killed, and the kernel has not ended it; it is left behind")
    assert json.loads(files.result.read_text())["status"] == "stopped"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "cannot be read (Expecting property name"),
        ("[1]", "is damaged: it holds no JSON object;"),
        ('{"task": "worker:0", "type": "ValueError"}', "is damaged: its message is missing or wrong;"),
        (
            '{"task": "worker:0", "type": "E", "message": "no", "exit_code": "x"}',
            "is damaged: its exit_code is missing or wrong;",
        ),
    ],
)
def test_an_error_json_that_is_damaged_is_a_sentence_and_the_exit_code_is_the_cause(
    make_launch: MakeLaunch, tmp_path: Path, content: str, why: str
) -> None:
    launch, files, screen = make_launch("say=go", f"await={tmp_path / 'go'}", "exit=4")

    def damage(_: str) -> None:
        files.error(1, "worker-0").write_text(content)
        (tmp_path / "go").touch()

    screen.on_line = damage
    outcome = launch.run()
    assert outcome.exit_code == 1
    (said,) = screen.notes
    assert said.startswith(f"worker:0: {files.error(1, 'worker-0')} {why}")
    assert said.endswith("; see the task's log instead")
    assert outcome.cause
    assert outcome.cause.error == "exited with code 4"


@pytest.mark.parametrize(
    ("words", "phase"),
    [
        (["phase=import"], "import"),
        *((["ready", f"phase={phase}"], phase) for phase in ("build", "data", "evaluate", "save", "report")),
    ],
)
def test_a_task_that_stays_in_a_phase_ends_the_run_with_its_name_and_the_key_of_its_bound(
    make_launch: MakeLaunch, words: list[str], phase: str
) -> None:
    launch, files, _ = make_launch("answers", *words, "sleep=600", timeouts={phase: "300ms"}, restarts=0)
    assert launch.run().exit_code == 1
    error = json.loads(files.result.read_text())["cause"]["error"]
    assert error.startswith(f"worker:0 has been in {phase} for 0.3 s (run.timeouts.{phase}); it is in task.py:")
    assert error.endswith("(act); the logs have the stacks of all threads")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "cannot write to the run directory {files}: No space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "cannot write to the run directory {files}: Disk quota"),
        (
            PermissionError(errno.EACCES, "Permission denied", "{files}/logs"),
            "cannot write to the run directory {files}",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/tmp/launcher-x"),
            "cannot use /tmp/launcher-x: Permission",
        ),
        (OSError(errno.EMFILE, "Too many open files"), "this machine refused what the launcher needs: Too many open"),
        (OSError(errno.EAGAIN, "Try again"), "this machine refused what the launcher needs: Try again; every task was"),
    ],
)
def test_an_error_of_the_system_says_what_it_was_about(
    make_launch: MakeLaunch, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    launch, files, _ = make_launch("sleep=600")
    directory = str(files.directory)
    filename = str(error.filename).format(files=directory) if error.filename else None

    def fail(*_: object) -> None:
        raise OSError(error.errno, error.strerror, filename)

    monkeypatch.setattr(launch, "_record", fail)  # once the first task has started
    with pytest.raises(LauncherError) as caught:
        launch.run()
    assert str(caught.value).startswith(said.format(files=directory))
    assert str(caught.value).endswith("; every task was ended")
