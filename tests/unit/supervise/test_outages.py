"""What a restart has cost."""

from __future__ import annotations

from launcher.supervise.causes import Cause
from launcher.supervise.outages import Outage
from tests.unit.supervise.histories import SECOND


def test_a_restart_costs_the_steps_since_its_checkpoint_and_the_time_until_training_continues() -> None:
    cause = Cause(SECOND, "killed by SIGKILL")
    together = Outage(cause, since=10.0, step=340).costs(resumed_at=300, now=14.5)
    assert together == {"culprit": "worker:1", "lost_steps": 40, "resumed_at": 300, "seconds": 4.5}
    alone = Outage(cause, since=10.0, step=340, task=SECOND).costs(resumed_at=300, now=12.0)
    assert alone == {"culprit": "worker:1", "lost_steps": 0, "seconds": 2.0}
