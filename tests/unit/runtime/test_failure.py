"""What a task leaves if it fails, what it tells the others, and how it ends."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from launcher.contract.task import Task
from launcher.errors import FormationError, LauncherError, UsageError
from launcher.rundir import RunFiles
from launcher.runtime.failure import PeerFailed, PeerGone, full_name, is_consequence, peer_failure
from launcher.runtime.failure import record as record_failure
from tests.unit.runtime.conftest import of_tensorflow, task_context

ROOT = Path(__file__).parents[3]


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    files = RunFiles(tmp_path / "run")
    files.directory.mkdir()
    files.prepare_attempt(1)
    return files


def user_function(path: Path, body: str) -> FunctionType:
    """Return the function ``fail`` of a module of the user's at this path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"def fail():\n    {body}\n")
    module = ModuleType(path.stem)
    exec(compile(path.read_text(), str(path), "exec"), vars(module))
    function = vars(module)["fail"]
    assert isinstance(function, FunctionType)
    return function


def record(files: RunFiles, error: BaseException, task: str = "worker:0") -> tuple[int, Mapping[str, Any]]:
    context = task_context(task, directory=files.directory.parent, run_directory=str(files.directory))
    code = record_failure(context, error)
    value: Mapping[str, Any] = json.loads(files.error(1, context.task.slug).read_text())
    return code, value


def caught(function: FunctionType) -> BaseException:
    with pytest.raises(BaseException) as raised:  # noqa: PT011  # whatever a user's code raises
        function()
    error = raised.value
    return error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)  # without the line above


def test_an_exception_is_recorded_with_the_users_line(files: RunFiles, tmp_path: Path) -> None:
    error = caught(user_function(tmp_path / "train.py", "raise ValueError('no')"))
    code, value = record(files, error)
    assert (code, value["exit_code"]) == (1, 1)
    assert (value["task"], value["type"], value["message"]) == ("worker:0", "ValueError", "no")
    assert value["code"] == ["train.py:2: raise ValueError('no')"]
    assert value["traceback"].startswith("Traceback (most recent call last):\n")
    assert value["time_ns"] > 10**18
    assert [value[key] for key in ("is_sentence", "consequence", "mendable")] == [False, False, False]


def test_the_traceback_is_in_the_log_after_what_was_printed(files: RunFiles) -> None:
    log = files.log(1, "worker-0")
    log.write_text("printed\n")
    record(files, ValueError("no"))
    assert log.read_text() == "printed\nValueError: no\n"


def test_only_the_users_lines_are_shown_each_where_it_lies(files: RunFiles, tmp_path: Path) -> None:
    inner = user_function(tmp_path.parent / f"{tmp_path.name}-elsewhere" / "inner.py", "import json; json.loads('{')")
    outer = user_function(tmp_path / "deep" / "outer.py", "inner()")
    outer.__globals__["inner"] = inner
    library = user_function(tmp_path / "site-packages" / "library.py", "outer()")
    library.__globals__["outer"] = outer
    _, value = record(files, caught(library))
    assert value["type"] == "json.decoder.JSONDecodeError"
    assert value["code"] == [
        "deep/outer.py:2: inner()",
        f"{inner.__code__.co_filename}:2: import json; json.loads('{{')",
    ]


def test_the_users_lines_are_shown_although_python_lies_above_them(
    files: RunFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))  # as /usr is, for a job in /usr/src/app
    error = caught(user_function(tmp_path / "train.py", "raise ValueError('no')"))
    assert record(files, error)[1]["code"] == ["train.py:2: raise ValueError('no')"]


def test_a_traced_step_shows_the_users_lines_and_what_was_said_below_them(files: RunFiles, tmp_path: Path) -> None:
    user_function(tmp_path / "train.py", "raise ValueError('no')")
    library = tmp_path / "site-packages" / "library.py"
    error = ValueError(
        "in user code:\n\n"
        f'    File "{tmp_path}/train.py", line 2, in train_step  *\n        raise ValueError\n'
        f'    File "{library}", line 9, in call  **\n        return step()\n\n'
        "    ValueError: no\n    \n    such thing\n"
    )
    _, value = record(files, error)
    assert value["message"] == "no\n\nsuch thing"
    assert value["code"] == ["train.py:2: raise ValueError('no')"]
    assert str(peer_failure(Task("worker", 1), error)) == "worker:1 failed: ValueError: no\n\nsuch thing"


def test_an_operation_that_fails_shows_the_users_lines_and_what_it_says_without_remarks(
    files: RunFiles, tmp_path: Path
) -> None:
    user_function(tmp_path / "train.py", "return 1 // 0")
    library = tmp_path / "site-packages" / "library.py"
    error = of_tensorflow(
        "InvalidArgumentError",
        "Graph execution error:\n\n"
        "Detected at node Cast defined at (most recent call last):\n"
        f'  File "{tmp_path}/train.py", line 2, in train_step\n\n'
        f'  File "{library}", line 9, in call\n\n'
        "Cast of NaN\n is not a number\n\t [[{{node Cast}}]] [Op:__inference_step_7]\n",
    )
    _, value = record(files, error)
    assert value["message"] == "Cast of NaN is not a number"
    assert value["code"] == ["train.py:2: return 1 // 0"]


def test_tasks_that_stopped_answering_are_named_once_each(files: RunFiles) -> None:
    error = of_tensorflow(
        "UnavailableError",
        "Graph execution error:\n\nThe following tasks are unhealthy (stopped sending heartbeats):\n"
        "/job:worker/replica:0/task:1\n/job:worker/replica:0/task:12\n/job:worker/replica:0/task:1\n"
        "The tasks have crashed. Check the task logs for an earlier error.\n",
    )
    _, value = record(files, error)
    assert (value["message"], value["consequence"]) == ("worker:1 and worker:12 stopped answering", True)
    assert (value["type"], value["peer"], value["mendable"]) == ("launcher.runtime.failure.PeerGone", "worker:1", True)


def test_what_the_user_says_in_paragraphs_is_kept_whole(files: RunFiles) -> None:
    assert record(files, ValueError("one\n\ntwo"))[1]["message"] == "one\n\ntwo"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LauncherError("x"), 1),
        (UsageError("x"), 2),
        (FormationError("x"), 3),
        (PeerGone("x"), 1),
        (PeerFailed("x", 7), 7),
    ],
)
def test_an_error_of_the_launchers_own_is_a_sentence_without_code_and_has_its_exit_code(
    files: RunFiles, error: LauncherError, code: int
) -> None:
    exit_code, value = record(files, error)
    assert (exit_code, value["exit_code"], value["code"], value["is_sentence"]) == (code, code, [], True)


@pytest.mark.parametrize("kind", ["UnavailableError", "AbortedError", "CancelledError", "DeadlineExceededError"])
def test_what_tensorflow_raises_when_another_task_goes_is_a_consequence_that_may_mend(
    files: RunFiles, kind: str
) -> None:
    _, value = record(files, of_tensorflow(kind, "socket closed"))
    assert [value[key] for key in ("is_sentence", "consequence", "mendable")] == [False, True, True]


@pytest.mark.parametrize(
    ("error", "consequence", "mendable"),
    [
        (PeerGone("worker:1 went away"), True, True),
        (PeerFailed("worker:1 failed: no", 1), True, False),
        (FormationError("no"), False, False),
        (LauncherError("no"), False, False),
        (of_tensorflow("InvalidArgumentError", "no"), False, False),
        (ConnectionResetError("the user's own connection"), False, False),
        (KeyboardInterrupt(), False, False),
    ],
)
def test_only_another_tasks_end_may_mend_and_only_where_it_has_not_failed(
    files: RunFiles, error: BaseException, consequence: bool, mendable: bool
) -> None:
    _, value = record(files, error)
    assert (value["consequence"], value["mendable"]) == (consequence, mendable)


def test_a_leader_that_stands_still_is_named_by_whoever_notices(files: RunFiles) -> None:
    text = "Graph execution error:\n\nCollective ops is aborted by: Deadline Exceeded\n\nRPC: /tensorflow.{}"
    error = of_tensorflow("DeadlineExceededError", text.format("CoordinationService/Heartbeat"))
    _, value = record(files, error, "worker:1")
    assert (value["message"], value["peer"]) == ("worker:0 stopped answering", "worker:0")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(0), MemoryError()])
def test_nothing_that_ends_a_job_early_is_success(files: RunFiles, error: BaseException) -> None:
    code, value = record(files, error)
    assert code == 1
    assert value["type"] == type(error).__name__


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no"), "ValueError: no"),
        (FormationError("worker:1 never came"), "worker:1 never came"),
        (PeerFailed("worker:1 failed: no", 1), "worker:1 failed: no"),
    ],
)
def test_an_error_is_told_in_a_sentence(error: Exception, said: str) -> None:
    assert str(peer_failure(Task("worker", 1), error)) == f"worker:1 failed: {said}"


def test_what_cannot_be_written_in_utf_8_is_recorded_all_the_same(files: RunFiles) -> None:
    code, value = record(files, ValueError("no data-\udcff.npz"))
    assert (code, value["message"]) == (1, "no data-\udcff.npz")
    assert r"data-\udcff.npz" in files.log(1, "worker-0").read_text()


FULL = "sys.stdout = open('/dev/full', 'w'); print('x')"


def test_an_error_that_cannot_say_what_it_is_is_recorded_by_its_type(files: RunFiles) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    code, value = record(files, Mute())
    assert code == 1
    assert value["type"].endswith("Mute")
    assert value["message"] == "(its text cannot be shown: ValueError)"


@pytest.mark.parametrize("stream", ["sys.stdout.close()", "sys.stdout = None", FULL])
def test_a_task_leaves_whatever_became_of_its_output(stream: str) -> None:
    script = f"import sys; from launcher.runtime.failure import leave; {stream}; leave(7)"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 7


def test_a_task_leaves_from_whatever_thread_at_once_and_what_it_printed_is_there() -> None:
    script = """
import atexit, sys, threading, time
from launcher.runtime.failure import leave
atexit.register(print, "never")
sys.stdout.write("printed")
sys.stderr.write("warned")
threading.Thread(target=leave, args=(7,)).start()
time.sleep(60)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "printed", "warned")


PEERS = ["UnavailableError", "AbortedError", "CancelledError", "DeadlineExceededError"]


@pytest.mark.parametrize("name", PEERS)
def test_an_error_is_a_peers_by_its_full_name_and_so_no_error_of_the_jobs_own_is(name: str) -> None:
    of_the_job = type(name, (Exception,), {"__module__": "myjob.errors"})("no")
    assert is_consequence(of_tensorflow(name))
    assert not is_consequence(of_the_job)
    assert full_name(type(of_the_job)) == f"myjob.errors.{name}"
    assert not is_consequence(asyncio.CancelledError())


@pytest.mark.parametrize("name", PEERS)
def test_tensorflows_own_errors_have_the_full_names_that_are_looked_for(name: str) -> None:
    import tensorflow as tf

    error = getattr(tf.errors, name)(None, None, "gone")
    assert is_consequence(error)
    assert full_name(type(error)) == f"tensorflow.errors.{name}"
