"""What a restart has cost."""

from __future__ import annotations

from launcher.supervise.causes import Cause
from launcher.supervise.events import Reported, Tick
from launcher.supervise.recovery import Outage, Outages
from tests.unit.supervise.histories import FIRST, SECOND, SYNC, Moments, killed, obeyed, ready, replay, trained

CAUSE = Cause(SECOND, "killed by SIGKILL")


def test_a_restart_costs_the_steps_since_its_checkpoint_and_the_time_until_training_continues() -> None:
    together = Outage(CAUSE, since=10.0, step=340).costs(resumed_at=300, now=14.5)
    together.pop("parts")
    assert together == {"culprit": "worker:1", "lost_steps": 40, "resumed_at": 300, "seconds": 4.5}
    alone = Outage(CAUSE, since=10.0, step=340, task=SECOND).costs(resumed_at=300, now=12.0)
    alone.pop("parts")
    assert alone == {"culprit": "worker:1", "lost_steps": 0, "seconds": 2.0}


def test_the_parts_of_a_recovery_add_up_and_what_was_not_seen_is_in_the_next_one() -> None:
    outages = Outages()
    outages.begin(CAUSE, 10.0, 340)
    for part, now in (("stopping", 10.5), ("waiting", 10.5), ("meeting", 12.0)):
        outages.mark(part, None, now)
    outages.mark("starting", SECOND, 11.0)  # of a task that restarts alone: there is none
    ((_, costs),) = outages.end(None, 300, 14.5)
    assert costs["parts"] == {"stopping": 0.5, "waiting": 0.0, "meeting": 1.5, "resuming": 2.5}
    assert sum(costs["parts"].values()) == costs["seconds"]


def test_an_attempt_that_fails_again_leaves_the_parts_of_the_last_one() -> None:
    outages = Outages()
    outages.begin(CAUSE, 10.0, 340)
    for now in (11.0, 15.0):
        outages.mark("stopping", None, now)
    ((_, costs),) = outages.end(None, 300, 16.0)
    assert costs["parts"] == {"stopping": 5.0, "resuming": 1.0}


def test_a_death_tells_each_part_of_its_recovery() -> None:
    history: Moments = [
        *trained(SYNC),
        *killed(SECOND, at=10),
        *obeyed(FIRST, at=11),
        (12, Tick()),
        (13, Reported(FIRST, "meeting")),
        (14, Reported(SECOND, "meeting")),
        *ready(FIRST, SECOND, at=16),
        (20, Reported(FIRST, "progress", {"step": 2})),
    ]
    (recovered,) = (record for record in replay(SYNC, history, budget=1).records if record.state == "recovered")
    assert recovered.details is not None
    assert recovered.details["parts"] == {"stopping": 1, "waiting": 1, "starting": 2, "meeting": 2, "resuming": 4}
