"""What a leader decides before all have met: who is missing, who may join, where all resume, when all go."""

from __future__ import annotations

from launcher.contract.task import Task
from launcher.errors import FormationError
from launcher.runtime.failure import PeerFailed, PeerGone
from launcher.runtime.rendezvous.events import (
    Done,
    Failed,
    FindHosts,
    Formed,
    HostsFound,
    Leave,
    NoteLoss,
    Sent,
)
from tests.unit.runtime.rendezvous.histories import OFFER, PREPARE, SYNC, History, error, missing

FIVE = {"worker": tuple(f"127.0.0.{number}:1" for number in range(1, 6))}
GO = {"go": True, "without": []}


# Who is missing


def test_who_is_missing_is_announced_after_a_second_and_then_every_five() -> None:
    history = History()
    history.wait(0.9)
    assert missing(history) == []
    history.wait(10.2)
    assert missing(history) == [["worker:1", "worker:2"]] * 3
    history.hello("worker:1")
    history.wait(5.0)
    assert missing(history) == [["worker:2"]]


def test_a_member_hears_every_second_who_is_missing() -> None:
    history = History(cluster=FIVE)
    first, second = history.hello("worker:3"), history.hello("worker:1")
    history.wait(2.5)
    waiting = {"waiting": ["worker:2", "worker:4"]}
    assert history.told(first) == history.told(second) == [waiting] * 2


def test_all_are_prepared_once_all_are_there_and_go_once_all_are_prepared() -> None:
    history = History()
    first = history.hello("worker:1")
    assert history.told(first) == []
    second = history.hello("worker:2")
    assert history.told(first) == history.told(second) == [PREPARE]
    history.prepare(first)
    assert history.asked() == []
    history.prepare(second)
    assert history.asked() == [FindHosts(())]
    history.happen(HostsFound())
    assert history.told(first) == history.told(second) == [GO]


def test_the_meeting_is_over_when_every_go_is_on_its_way() -> None:
    history = History()
    connections = [history.hello(name) for name in history.others]
    history.prepare(*connections)
    history.found_hosts()
    history.happen(Sent(connections[0]))
    assert history.asked() == []
    history.happen(Sent(connections[1]))
    assert history.asked() == [Formed(())]


def test_a_go_that_is_not_taken_holds_the_start_up_only_so_long() -> None:
    history = History()
    history.prepare(*[history.hello(name) for name in history.others])
    history.found_hosts()
    history.wait(4.9)
    assert history.asked() == []
    history.wait(0.2)
    assert history.asked() == [Formed(())]


def test_who_is_there_and_not_prepared_is_missing_still() -> None:
    history = History()
    early, _ = history.hello("worker:1"), history.hello("worker:2")
    history.prepare(early)
    history.told(early)
    history.wait(1.0)
    assert history.told(early) == [{"waiting": ["worker:2"]}]
    assert missing(history) == [["worker:2"]]


def test_who_gets_prepared_is_not_told_who_is_missing_in_the_midst_of_its_files() -> None:
    history = History(offer=OFFER)
    first, _ = history.hello("worker:1"), history.hello("worker:2")
    history.told(first)
    history.wait(5.0)
    assert history.told(first) == []


def test_at_the_deadline_all_are_named_who_never_came() -> None:
    history = History()
    history.wait(59.9)
    assert not any(isinstance(action, Leave) for action in history.asked())
    history.wait(100.0)
    leave = error(history)
    assert isinstance(leave, FormationError)
    assert str(leave).endswith("(run.start_timeout); missing: worker:1, worker:2")


def test_at_the_deadline_only_those_are_named_who_are_not_prepared() -> None:
    history = History()
    _, prepared = history.hello("worker:1"), history.hello("worker:2")
    history.prepare(prepared)
    history.wait(60.0)
    assert str(error(history)).endswith("missing: worker:1")


def test_a_member_that_goes_is_missing_again_and_may_come_again() -> None:
    history = History()
    first = history.hello("worker:1")
    history.lose(first)
    history.wait(1.0)
    assert missing(history) == [["worker:1", "worker:2"]]
    second, again = history.hello("worker:2"), history.hello("worker:1")
    history.prepare(second, again)
    assert history.asked() == [FindHosts(())]


def test_a_member_that_goes_while_the_hosts_are_looked_for_is_waited_for_again() -> None:
    history = History()
    first, second = history.hello("worker:1"), history.hello("worker:2")
    history.prepare(first, second)
    history.lose(first)
    history.found_hosts()
    assert history.asked() == []
    history.wait(1.0)
    assert missing(history) == [["worker:1"]]
    history.prepare(history.hello("worker:1"))
    history.found_hosts()
    assert GO in history.told(second)


def test_a_member_that_was_prepared_and_comes_again_must_get_prepared_again() -> None:
    history = History()
    first, second = history.hello("worker:1"), history.hello("worker:2")
    history.prepare(first)
    again = history.hello("worker:1")  # started again, before its old connection broke
    assert history.told(first)[-1] == "closed"
    history.prepare(second)
    assert history.asked() == []
    history.lose(first)  # the end of an old connection does not undo a newer one
    history.prepare(again)
    assert history.asked() == [FindHosts(())]


def test_prepared_before_it_was_asked_to_is_not_prepared() -> None:
    history = History()
    first = history.hello("worker:1")
    history.prepare(first)
    history.prepare(history.hello("worker:2"))
    assert history.asked() == []


# Whom the others can do without


def with_two() -> History:
    """A leader that needs one other worker of three."""
    return History(cluster={"worker": SYNC["worker"] + ("127.0.0.4:1",)}, fewest_workers=2)


def test_who_may_be_missing_is_waited_for_half_of_the_time() -> None:
    history = with_two()
    first, second = history.hello("worker:1"), history.hello("worker:3")
    history.wait(29.9)
    assert missing(history)[-1] == ["worker:2"]
    history.wait(0.2)
    left_out = PREPARE | {"without": ["worker:2"]}
    assert history.told(first)[-1] == history.told(second)[-1] == left_out
    history.prepare(first, second)
    assert history.asked() == [FindHosts((Task("worker", 2),))]
    history.happen(HostsFound())
    assert history.told(first)[-1] == {"go": True, "without": ["worker:2"]}
    for connection in (first, second):
        history.happen(Sent(connection))
    assert history.asked() == [Formed((Task("worker", 2),))]
    late = history.hello("worker:2")
    assert history.told(late) == [{"refused": "the run continues without worker:2"}, "hung up"]


def test_who_is_there_and_never_gets_prepared_is_left_out_and_hears_it() -> None:
    history = with_two()
    first, hangs, third = (history.hello(name) for name in history.others)
    history.prepare(first, third)
    history.wait(29.0)
    assert "hung up" not in history.told(hangs)
    history.wait(2.0)
    assert history.told(hangs)[-2:] == [{"refused": "the run continues without worker:2"}, "hung up"]
    assert history.asked()[-1] == FindHosts((Task("worker", 2),))


def test_who_comes_late_has_half_of_the_time_that_is_left_to_get_prepared() -> None:
    history = with_two()
    history.hello("worker:1")
    history.wait(29.0)
    late = [history.hello("worker:2"), history.hello("worker:3")]
    history.wait(15.0)
    assert all("hung up" not in history.told(connection) for connection in late)
    history.prepare(*late)
    history.wait(1.0)
    assert history.asked()[-1] == FindHosts((Task("worker", 1),))


def test_more_than_may_be_missing_are_waited_for_until_the_deadline() -> None:
    history = with_two()
    history.wait(60.0)
    assert str(error(history)).endswith("missing: worker:1, worker:2, worker:3")


# A failure before all have met


def test_a_member_that_cannot_prepare_ends_the_meeting_with_its_words() -> None:
    history = History()
    prepared, failing = history.hello("worker:1"), history.hello("worker:2")
    history.prepare(prepared)
    history.say(failing, failed="worker:2 failed: no disk", exit_code=7)
    failed = {"failed": "worker:2 failed: no disk", "exit_code": 7, "own": False}
    assert history.told(prepared)[-2:] == [failed, "hung up"]
    assert [type(action) for action in history.asked()] == [NoteLoss]  # it may not have been heard yet
    history.lose(prepared)
    leave = error(history)
    assert isinstance(leave, PeerFailed)
    assert (str(leave), leave.exit_code) == ("worker:2 failed: no disk", 7)
    late = history.hello("worker:1")
    assert history.told(late) == [failed, "hung up"]


def test_the_leaders_own_failure_is_told_to_all_that_are_there() -> None:
    history = History()
    present = history.hello("worker:1")
    failure = PeerFailed("worker:0 failed: the cluster did not form", 3)
    history.happen(Failed(failure))
    failed = {"failed": str(failure), "exit_code": 3, "own": False}
    assert history.told(present) == [failed, "hung up"]
    assert history.asked() == [NoteLoss(failure)]
    history.wait(1.9)
    assert history.asked() == []
    history.wait(0.2)
    assert history.asked() == [Done()]


def test_a_task_that_is_lost_while_the_go_is_sent_ends_the_meeting() -> None:
    history = History()
    first, second = history.hello("worker:1"), history.hello("worker:2")
    history.prepare(first, second)
    history.found_hosts()
    history.happen(Sent(second))
    history.lose(first)
    lost = {"lost": "worker:1 went away", "peer": "worker:1"}
    assert history.told(second)[-2:] == [lost, "hung up"]
    history.wait(2.0)
    assert isinstance(error(history), PeerGone)
