"""The last lines of a run: harmless, and read from the end of a log however long it is."""

from __future__ import annotations

from pathlib import Path

from launcher.contract.task import Task
from launcher.supervise.causes import Cause
from launcher.terminal import summary as module
from launcher.terminal.summary import first_cause

CAUSE = Cause(Task("worker", 0), "was killed")


def test_the_last_lines_of_a_log_are_its_last_whole_lines(tmp_path: Path) -> None:
    log = tmp_path / "worker-0.log"
    lines = [f"line {number} " + "x" * 30_000 for number in range(4)]
    log.write_text("\n".join(lines) + "\n")
    assert first_cause(CAUSE, log)[1:-1] == [f"  {line}" for line in lines[2:]]  # what begins before is left out


def test_a_log_is_read_from_its_end_alone(tmp_path: Path) -> None:
    log = tmp_path / "worker-0.log"
    with log.open("wb") as file:
        file.truncate(1 << 40)  # of no blocks: more than any memory
        file.seek(0, 2)
        file.write(b"\nthe end\n")
    assert first_cause(CAUSE, log)[-2] == "  the end"
    assert module._LOG_END < 1 << 20
