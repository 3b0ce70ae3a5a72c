"""``python -m tests.faults``: hits running clusters, and prints a table of what came of it."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tests.faults.cluster import lacking
from tests.faults.runner import Verdict, judge, truth
from tests.faults.scenario import scenarios

START_METHODS = ("auto", "fork", "spawn")
WIDTH = 140  # of the table, wherever it is printed: a row that is broken in two is none


def main() -> None:
    """Run the scenarios of a seed; exit 0 only where every one passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="how many scenarios (200)")
    parser.add_argument("--seed", type=int, default=7, help="which ones (7)")
    parser.add_argument("--only", type=_numbers, metavar="NUMBER[-LAST]", help="just this one of them, or these")
    parser.add_argument("--start", choices=START_METHODS, default="auto", help="run.start_method of all runs (auto)")
    parser.add_argument("--jobs", type=int, default=1, help="how many scenarios at once (1)")
    parser.add_argument("--logs", type=Path, help="write what a failed scenario printed into this directory")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error(f"argument --jobs: must be at least 1, not {arguments.jobs}")
    if why := lacking():
        sys.exit(why)
    chosen = [
        one for one in scenarios(arguments.seed, arguments.runs) if not arguments.only or one.number in arguments.only
    ]
    if not chosen:
        sys.exit(f"of {arguments.runs} scenarios there is none to run; --only takes one of their numbers, from 1 on")
    # Under nohup the launchers would inherit that a hang-up is ignored, and ignore it, as they have to.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    began = time.monotonic()
    expected, verdicts = truth(arguments.start), []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        judged = [pool.submit(judge, scenario, expected, arguments.start) for scenario in chosen]
        try:
            for verdict in map(Future.result, as_completed(judged)):
                verdicts.append(verdict)
                _tell(verdict, arguments.logs)
        finally:  # after a Ctrl-C, which every launcher gets, too
            pool.shutdown(cancel_futures=True)
    _conclude(verdicts)
    minutes = (time.monotonic() - began) / 60
    passed = sum(verdict.passed for verdict in verdicts)
    which = f"seed {arguments.seed}, start method {arguments.start}"
    print(f"{passed} of {len(verdicts)} passed in {minutes:.0f} min, {which}")
    sys.exit(passed < len(verdicts))


def _numbers(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _tell(verdict: Verdict, logs: Path | None) -> None:
    """Print one line; with ``logs``, write what a failed scenario printed into a file of that directory."""
    told = "passed" if verdict.passed else f"FAILED: {verdict.problem}"
    what = f"{verdict.scenario.number:4} {verdict.scenario}: exit code {verdict.code}, {verdict.attempts} attempts"
    what += "" if verdict.struck else ", too late to strike"
    print(f"{what}, {verdict.seconds:.0f} s: {told}", flush=True)
    if logs and not verdict.passed:
        logs.mkdir(exist_ok=True)
        (logs / f"{verdict.scenario.number}.txt").write_text(f"{what}: {told}\n{verdict.output}")


def _conclude(verdicts: Sequence[Verdict]) -> None:
    """Print the table, as README.md has it, and how long the tasks of a launcher that was killed lived on."""
    Console(width=WIDTH).print(_table(verdicts))
    if outlived := [verdict.outlived for verdict in verdicts if verdict.outlived is not None]:
        print(f"the tasks of a launcher that was killed lived on for {max(outlived):.2f} s at most")


def _table(verdicts: Sequence[Verdict]) -> Table:
    groups: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.scenario.fault, verdict.scenario.mode].append(verdict)
    titles = ("what happens", "mode", "to whom", "runs", "passed", "exit codes", "seconds, median", "most")
    table = Table(*titles, box=box.MARKDOWN)
    for key, group in sorted(groups.items()):
        seconds = sorted(verdict.seconds for verdict in group)
        ends = ", ".join(map(str, sorted({verdict.code for verdict in group if verdict.code is not None})))
        passed = sum(verdict.passed for verdict in group)
        whom = ", ".join(sorted({verdict.scenario.target.partition(":")[0] for verdict in group}))
        cells = (whom, len(group), passed, ends, f"{seconds[len(seconds) // 2]:.0f}", f"{seconds[-1]:.0f}")
        table.add_row(*key, *map(str, cells))
    return table


if __name__ == "__main__":
    main()
