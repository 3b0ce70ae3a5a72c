"""What launcher and spawner say to each other, and the end of what was started."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.contract.requests import receive_request, send_request
from launcher.contract.task import Task
from launcher.engines.local import process
from launcher.engines.local.network.settled import Network
from launcher.engines.local.process import Processes
from launcher.errors import LauncherError
from tests.support.processes import all_gone, network_of
from tests.unit.engines.local.conftest import spawner_of_this_process

CONTINUED = (
    "the spawner, the process that owns this launcher's tasks, was stopped by a signal (SIGSTOP), and is continued"
)
WORKER = Task("worker", 0)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def processes() -> Iterator[Processes]:
    with Processes("host") as there:
        yield there


def messages(processes: Processes, last: str) -> list[Mapping[str, Any]]:
    """What the spawner says, up to the message with that key."""
    heard: list[Mapping[str, Any]] = []
    while not any(last in message for message in heard):
        heard += processes.receive()
    return heard


def start(processes: Processes, code: str, **environment: str) -> bytes:
    """Start a Python program as a task and return what it writes, to its end."""
    read_end, write_end = os.pipe()
    processes.start(WORKER, [sys.executable, "-c", code], environment, write_end)
    os.close(write_end)
    with open(read_end, "rb") as output:  # noqa: PTH123  # a descriptor
        return output.read()


def test_a_request_arrives_with_its_open_files(pair: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    ours, theirs = pair
    with (tmp_path / "a").open("w") as a, (tmp_path / "b").open("w") as b:
        send_request(ours, {"start": "worker:0", "n": [1, "é"]}, [a.fileno(), b.fileno()])
        request, descriptors = receive_request(theirs)
    assert request == {"start": "worker:0", "n": [1, "é"]}
    for descriptor, text in zip(descriptors, (b"first", b"second"), strict=True):
        assert not os.get_inheritable(descriptor)
        os.write(descriptor, text)
        os.close(descriptor)
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"first", b"second"]


def test_requests_that_follow_each_other_do_not_mix(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    for number in range(3):
        send_request(ours, {"kill": number})
    assert [receive_request(theirs) for _ in range(3)] == [({"kill": number}, []) for number in range(3)]


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0\0\0\x08", b'\0\0\0\x08{"a"'])
def test_a_request_that_breaks_off_is_the_end_of_the_other_side(
    pair: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    ours, theirs = pair
    ours.sendall(sent)
    ours.close()
    with pytest.raises(EOFError):
        receive_request(theirs)


def test_a_spawner_says_its_network_and_why_then_each_start_and_each_end(processes: Processes) -> None:
    assert messages(processes, "network") == [{"network": {"name": "host", "why": "", "way": "", "closed": ""}}]
    start(processes, "raise SystemExit(7)")
    started, exited = messages(processes, "exited")
    assert started["started"] == exited["exited"] == "worker:0"
    assert exited["code"] == 7


def test_a_task_leads_a_session_of_its_own(processes: Processes) -> None:
    said = start(processes, "import os; print(os.getsid(0) == os.getpid() == os.getpgid(0))")
    assert said == b"True\n"


def test_a_task_reads_nothing_and_gets_its_environment_on_top_of_ours(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BELOW", "ours")
    monkeypatch.setenv("ABOVE", "ours")
    code = "import os, sys; print(repr(sys.stdin.read()), os.environ['BELOW'], os.environ['ABOVE'])"
    assert start(processes, code, ABOVE="é" * 50_000).decode() == f"'' ours {'é' * 50_000}\n"


def test_a_task_finds_the_packages_wherever_it_starts(
    processes: Processes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "/mine")
    code = "import os, sys, launcher.errors; print('/mine' in sys.path)"
    assert start(processes, code) == b"True\n"


def test_a_signal_reaches_the_group_of_the_task(processes: Processes) -> None:
    messages(processes, "network")
    read_end, write_end = os.pipe()
    # The child keeps the pipe open until the signal ends it too.
    child = "import signal; print(1, flush=True); signal.pause()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    processes.start(WORKER, [sys.executable, "-c", code], {}, write_end)
    os.close(write_end)
    with open(read_end, "rb") as output:  # noqa: PTH123
        assert output.readline() == b"1\n"
        messages(processes, "started")
        processes.kill(WORKER, signal.SIGKILL)
        assert output.read() == b""
    assert messages(processes, "exited")[-1]["code"] == -signal.SIGKILL


def test_a_task_that_is_not_there_is_not_signalled(processes: Processes) -> None:
    processes.kill(WORKER, signal.SIGKILL)
    messages(processes, "network")
    start(processes, "")
    messages(processes, "exited")
    processes.kill(WORKER, signal.SIGKILL)  # its number may belong to somebody else by now


def test_the_end_of_a_spawner_with_a_request_unread_is_an_end_like_any_other(processes: Processes) -> None:
    messages(processes, "network")
    spawner = spawner_of_this_process()
    spawner.suspend()
    processes.signal_only(WORKER, signal.SIGTERM)
    spawner.kill()
    with pytest.raises(EOFError):
        list(processes.receive())
    assert processes.has_gone


def test_leaving_ends_spawner_and_tasks() -> None:
    read_end, write_end = os.pipe()
    with Processes("host") as processes:
        processes.start(WORKER, [sys.executable, "-c", "import time; time.sleep(600)"], {}, write_end)
        os.close(write_end)
        pid = messages(processes, "started")[-1]["pid"]
        task = psutil.Process(pid)
    assert processes._spawner
    assert processes._spawner.returncode == 0
    assert not task.is_running()
    os.close(read_end)


def test_more_tasks_than_the_sockets_hold_start_at_once(processes: Processes) -> None:
    tasks = [Task("worker", index) for index in range(600)]  # of requests, and of answers: 400 blocked each other once
    read_end, write_end = os.pipe()
    for task in tasks:
        processes.start(task, ["/bin/true"], {}, write_end)
    os.close(write_end)
    os.close(read_end)
    ended: list[str] = []
    while len(ended) < len(tasks):
        ended += [message["exited"] for message in processes.receive() if "exited" in message]
    assert sorted(ended) == sorted(map(str, tasks))


def test_a_spawner_that_was_stopped_is_ended_with_its_tasks_and_so_is_what_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_END_WAIT", 0.1)
    read_end, write_end = os.pipe()
    with Processes("host") as processes:
        messages(processes, "network")
        processes.start(WORKER, ["/bin/sleep", "600"], {}, write_end)
        task = psutil.Process(messages(processes, "started")[-1]["pid"])
        processes.connection.settimeout(0.1)  # instead of _TAKE
        spawner_of_this_process().suspend()
        while not processes.has_gone:
            processes.start(WORKER, ["/bin/true"], {"X": "x" * 50_000}, write_end)
            with suppress(EOFError, TimeoutError):
                list(processes.receive())
    os.close(write_end)
    os.close(read_end)
    assert all_gone([task])


def test_a_spawner_that_says_nothing_is_a_sentence_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_FIRST_WORD", 0.1)
    monkeypatch.setattr(process, "_END_WAIT", 0.1)
    monkeypatch.setattr(process, "_is_stopped", lambda _: False)  # as if it hung
    with Processes("host") as processes:
        spawner = spawner_of_this_process()
        spawner.suspend()
        with pytest.raises(LauncherError, match="said nothing for"):
            processes.first_word(lambda: True)
    assert all_gone([spawner])


def suspend(spawner: psutil.Process) -> None:
    """Stop the spawner, and wait until it is."""
    spawner.suspend()
    while spawner.status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)


def test_a_spawner_that_was_stopped_before_its_first_word_is_continued_and_that_is_said() -> None:
    said: list[str] = []
    with Processes("host", say=said.append) as processes:
        suspend(spawner_of_this_process())
        assert network_of(processes).name == "host"
    assert said == [CONTINUED]


def test_a_spawner_is_continued_whenever_it_is_looked_at_and_left_alone_where_nothing_has_stopped_it() -> None:
    said: list[str] = []
    with Processes("host", say=said.append) as processes:
        network_of(processes)
        processes.watch()
        suspend(spawner := spawner_of_this_process())
        processes.watch()
        while spawner.status() == psutil.STATUS_STOPPED:
            time.sleep(0.01)
        processes.watch()
    assert said == [CONTINUED]


def test_what_comes_with_the_first_word_is_heard_as_well(processes: Processes) -> None:
    network_of(processes)
    spawner = processes.connection
    processes.connection, theirs = socket.socketpair()
    with theirs, processes.connection:
        theirs.sendall(b'{"network": {"way": "pasta"}}\n{"closed": "pasta has ended"}\n')
        assert list(processes.receive())[1:] == [{"closed": "pasta has ended"}]
        assert network_of(processes) == Network(way="pasta")
    processes.connection = spawner


def test_a_spawner_that_was_stopped_is_continued_to_end_a_task(processes: Processes) -> None:
    messages(processes, "network")
    read_end, write_end = os.pipe()
    processes.start(WORKER, ["/bin/sleep", "600"], {}, write_end)
    os.close(write_end)
    messages(processes, "started")
    spawner_of_this_process().suspend()
    processes.kill(WORKER, signal.SIGTERM)
    assert messages(processes, "exited")[-1]["code"] == -signal.SIGTERM
    os.close(read_end)


def test_leaving_a_spawner_that_was_stopped_ends_it_with_its_tasks() -> None:
    read_end, write_end = os.pipe()
    with Processes("host") as processes:
        messages(processes, "network")
        processes.start(WORKER, ["/bin/sleep", "600"], {}, write_end)
        os.close(write_end)
        task = psutil.Process(messages(processes, "started")[-1]["pid"])
        spawner_of_this_process().suspend()
    assert processes._spawner
    assert processes._spawner.returncode == 0  # by itself, once it was continued
    assert all_gone([task])
    os.close(read_end)


def test_a_spawner_that_was_stopped_is_continued_if_nothing_is_heard_of_it(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_QUIET", 0.0)
    messages(processes, "network")
    suspend(spawner_of_this_process())
    processes.watch()
    assert list(processes.receive()) == [{"pong": True}]


def sleeping(processes: Processes) -> psutil.Process:
    """Start a task that does nothing, and return its process."""
    with Path(os.devnull).open("wb") as nowhere:
        processes.start(WORKER, ["/bin/sleep", "600"], {}, nowhere.fileno())
    return psutil.Process(messages(processes, "started")[-1]["pid"])


def test_a_spawner_that_hangs_is_ended_with_its_tasks_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_QUIET", 0.0)
    monkeypatch.setattr(process, "_ANSWER", 0.0)
    monkeypatch.setattr(Processes, "_continue", lambda _: None)
    with Processes("host") as processes:
        messages(processes, "network")
        task = sleeping(processes)
        suspend(spawner_of_this_process())
        processes.watch()  # asks
        processes.watch()
        with pytest.raises(EOFError):
            list(processes.receive())
        assert processes.fate.endswith("has given no answer for 0 s, and was killed")
        assert all_gone([task])


def test_the_end_of_a_spawner_that_hangs_is_waited_for_no_longer_than_is_left_of_the_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "_END_WAIT", 600.0)
    monkeypatch.setattr(Processes, "_continue", lambda _: None)
    with Processes("host") as processes:
        messages(processes, "network")
        task = sleeping(processes)
        suspend(spawner := spawner_of_this_process())
        processes.end_by = time.monotonic()
    assert all_gone([task, spawner])
