"""What a task tells while TensorFlow runs one of its calls."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import tensorflow as tf

from launcher.contract.phases import Phase
from launcher.errors import LauncherError
from launcher.runtime import task
from launcher.runtime.training import pulse as module
from launcher.runtime.training.pulse import Pulse

PATIENCE = 60.0  # seconds


class Flaky:
    """A reporter whose first report in a call, or heartbeat, cannot be sent, as if all file descriptors were in use."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.again = threading.Event()
        self._failed = False

    def tell(self, event: str, **details: Any) -> None:
        if event in ("moving", "alive") and not self._failed:
            self._failed = True
            raise LauncherError("this task cannot report to its launcher")
        self.told.append({"event": event, **details})
        if event in ("moving", "alive"):
            self.again.set()


def test_a_report_that_cannot_be_sent_does_not_keep_the_next_one_from_being_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_EVERY", 0.01)
    reporter = Flaky()
    pulse = Pulse(reporter)  # type: ignore[arg-type]
    pulse.enter(Phase.DATA)
    pulse.watch(2, 9)
    batches = iter(tf.data.Dataset.from_tensors(0).repeat())
    while not reporter.again.is_set():
        pulse.draw(batches)
    pulse.end()
    assert reporter.told[0] == {"event": "phase", "phase": Phase.DATA}
    assert reporter.told[-1]["event"] == "moving"


def test_a_heartbeat_that_cannot_be_sent_does_not_keep_the_next_one_from_being_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task, "ALIVE_EVERY", 0.01)
    reporter = Flaky()
    task._send_heartbeats(reporter)  # type: ignore[arg-type]
    assert reporter.again.wait(PATIENCE)
    monkeypatch.setattr(task, "ALIVE_EVERY", 3600.0)  # that thread has no end


def test_a_task_in_no_phase_does_not_rest_twice() -> None:
    reporter = Flaky()
    pulse = Pulse(reporter)  # type: ignore[arg-type]
    pulse.rest()
    pulse.enter(Phase.EVALUATE)
    pulse.rest()
    pulse.rest()
    assert [one["event"] for one in reporter.told] == ["phase", "idle"]
