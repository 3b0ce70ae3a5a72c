"""Leader and members as they are, each in a thread of its own: who is waited for, and where all resume."""

from __future__ import annotations

import queue
import shutil
import socket
import threading
from collections.abc import Collection
from pathlib import Path

import pytest

from launcher.contract.context import TaskContext
from launcher.errors import FormationError, LauncherError
from launcher.rundir import RunFiles
from launcher.runtime.checkpoint import content, progress
from launcher.runtime.checkpoint.files import CheckpointFiles
from launcher.runtime.failure import PeerFailed
from launcher.runtime.rendezvous import ending
from launcher.runtime.rendezvous.leader import Leader
from launcher.runtime.rendezvous.meeting import Alone, meeting
from launcher.runtime.rendezvous.member import Member
from launcher.runtime.rendezvous.messages import not_formed
from tests.unit.engines.local.test_ports import held
from tests.unit.runtime.conftest import task_context
from tests.unit.runtime.rendezvous.histories import ASYNC
from tests.unit.runtime.rendezvous.meeting import PATIENCE, Place, result, save

# Nobody to meet


def test_a_task_that_has_nobody_to_meet_does_not_wait() -> None:
    with meeting(task_context(), 0.0, print) as alone:
        assert isinstance(alone, Alone)
        alone.watch(lambda error: pytest.fail(str(error)))
        alone.finish(stopped=True)
        assert alone.wait_for_end()


def resumed_at(context: TaskContext) -> int:
    with meeting(context, 0.0, print) as alone:
        return alone.step


def test_a_task_alone_resumes_from_its_newest_checkpoint(tmp_path: Path) -> None:
    context = task_context(directory=tmp_path)
    assert resumed_at(context) == 0
    files = CheckpointFiles(tmp_path / "checkpoints")
    for step in (5, 20, 9):
        save(files, step)
    assert resumed_at(context) == 20


# The beginning


def test_all_meet_when_the_leader_comes_first(place: Place) -> None:
    leader = place.send("worker:0")
    place.wait_until_missing("worker:1", "worker:2")
    members = [place.send("worker:2"), place.send("worker:1")]
    assert isinstance(result(leader), Leader)
    assert all(isinstance(result(member), Member) for member in members)


def test_all_meet_when_the_leader_comes_last_and_the_members_say_whom_they_wait_for(place: Place) -> None:
    said: queue.Queue[list[str]] = queue.Queue()
    members = [place.send(task, tell=lambda missing: said.put(list(missing))) for task in ("worker:1", "worker:2")]
    waits = f"worker:0 (no answer at 127.0.0.1:{place.port})"
    assert [said.get(timeout=PATIENCE) for _ in members] == [[waits]] * 2
    for task in (place.send("worker:0"), *members):
        result(task)


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback; containers often have none."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost", "[::1]", "0.0.0.0"])
def test_they_meet_wherever_the_address_says(place: Place, host: str) -> None:
    if host == "[::1]" and not has_ipv6():
        pytest.skip("no IPv6 here")
    for parted in place.finish(*place.formed(rendezvous=f"{host}:{place.port}")):
        result(parted)


def test_they_meet_on_a_port_that_the_launcher_holds(place: Place) -> None:
    with held([place.port]):
        assert len(place.formed()) == 3


def test_a_leader_whose_port_is_taken_says_so(place: Place) -> None:
    sentence = f"cannot listen at the rendezvous 127.0.0.1:{place.port}: .*in use"
    with socket.create_server(("127.0.0.1", place.port)), pytest.raises(LauncherError, match=sentence):
        result(place.send("worker:0"))


def test_a_member_with_the_token_of_another_run_does_not_meet(place: Place) -> None:
    leader = place.send("worker:0")
    with pytest.raises(LauncherError, match=r"^worker:0 at .* has another key, and belongs to another run or "):
        result(place.send("worker:2", token="that of another run"))
    assert not leader.done()
    for task in (place.send("worker:1"), place.send("worker:2"), leader):
        result(task)


def test_when_the_leaders_time_is_over_its_members_hear_who_never_came(place: Place) -> None:
    leader, present = place.send("worker:0", seconds=3.0), place.send("worker:1")
    with pytest.raises(FormationError, match=r"missing: worker:2$"):
        result(leader)
    with pytest.raises(PeerFailed, match=r"^worker:0 failed: the cluster did not form .*; missing: worker:2$") as heard:
        result(present)
    assert heard.value.exit_code == 3


def test_a_host_that_only_one_task_does_not_know_ends_the_start_for_all(place: Place) -> None:
    # Its own view of the cluster: on its machine the name of another task's host leads nowhere.
    cluster = {"worker": ("127.0.0.1:1", "no host:1", "127.0.0.3:1")}
    unknown = "worker:1 (no address is known here for no host)"

    def tell(missing: Collection[str]) -> None:
        if missing == [unknown]:
            raise not_formed(missing)  # as at the deadline

    leader, other = place.send("worker:0"), place.send("worker:1")
    with pytest.raises(FormationError) as caught:
        result(place.send("worker:2", tell=tell, cluster=cluster))
    for task in (leader, other):
        with pytest.raises(PeerFailed) as heard:
            result(task)
        assert (str(heard.value), heard.value.exit_code) == (f"worker:2 failed: {caught.value}", 3)


# Where to resume


def test_all_begin_anew_where_the_leader_has_no_checkpoint(place: Place) -> None:
    save(place.files("worker:1"), 40, variables=b"of another run")
    assert [meeting.step for meeting in place.formed()] == [0, 0, 0]


def test_all_resume_from_the_leaders_newest_checkpoint_wherever_its_files_were(place: Place) -> None:
    content = {"index": b"", "data": bytes(range(256)) * 9_999}
    save(place.files("worker:0"), 10, data=b"old")
    saved = save(place.files("worker:0"), 20, **content)
    save(place.files("worker:1"), 20, data=b"another run's")
    assert [meeting.step for meeting in place.formed()] == [20, 20, 20]
    for task in ("worker:1", "worker:2"):
        received = place.files(task).at(20)
        assert received.identity == saved.identity
        assert {name: (received.directory / name).read_bytes() for name in content} == content


def test_who_has_the_leaders_disk_receives_nothing(place: Place) -> None:
    saved = save(place.files("worker:0"), 20, data=b"content")
    before = saved.directory.stat()
    shared = place.context("worker:0").run_directory
    assert [meeting.step for meeting in place.formed(run_directory=shared)] == [20, 20, 20]
    assert saved.directory.stat() == before


def test_asynchronous_tasks_know_the_step_and_get_no_files(place: Place) -> None:
    save(place.files("chief:0"), 20, data=b"content")
    assert [meeting.step for meeting in place.formed(**ASYNC)] == [20, 20, 20]
    assert [place.files(task).saved() for task in ("worker:0", "ps:0")] == [[], []]


def test_the_leader_hears_that_a_member_cannot_write_the_checkpoint(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "GOODBYE", 0.05)
    save(place.files("worker:0"), 7, a=b"x")
    checkpoints = RunFiles(Path(place.context("worker:1").run_directory)).checkpoints
    checkpoints.parent.mkdir(parents=True, exist_ok=True)
    checkpoints.touch()  # no directory can be made there
    leader, member = place.send("worker:0"), place.send("worker:1")
    place.member("worker:2")
    for task in (member, leader):
        with pytest.raises(LauncherError, match="cannot write the checkpoint that worker:0 sends"):
            result(task)


def test_a_cluster_forms_although_its_checkpoint_takes_long_to_verify_and_who_waits_hears_for_whom(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SAY_EVERY", 0.0)
    saved = save(place.files("worker:0"), 7, a=b"content")
    copy = Path(place.context("worker:1").run_directory) / "checkpoints" / saved.directory.name
    shutil.copytree(saved.directory, copy)
    go_on = {"worker:0": threading.Event(), "worker:1": threading.Event()}
    digest = content._digest

    def slow(path: Path, done: progress.Progress | None = None) -> str:
        (held,) = (event for name, event in go_on.items() if name in path.parts)
        if done:
            done.add(0)
            assert held.wait(PATIENCE)
        return digest(path, done)

    monkeypatch.setattr(content, "_digest", slow)
    said: queue.Queue[list[str]] = queue.Queue()
    tasks = [place.send("worker:0"), place.send("worker:1")]
    tasks.append(place.send("worker:2", tell=lambda missing: said.put(list(missing))))
    for name, event in go_on.items():
        while said.get(timeout=PATIENCE) != [f"{name} (verifying checkpoint step-7: 0.0 of 0.0 MiB)"]:
            pass
        event.set()
    assert [result(task).step for task in tasks] == [7, 7, 7]
    assert not list(copy.parent.glob("damaged-*"))
