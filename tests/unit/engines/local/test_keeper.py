"""The process that keeps a private network's way out lets go of the launcher's streams."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

# A spawner that has been told to leave: it waits for another run, and has closed what the launcher gave it.
LEFT = """
import os, sys
from launcher.engines.local.way_out import WayOut

kept = WayOut()
nothing = os.open(os.devnull, os.O_RDWR)
for number in (1, 2):
    os.dup2(nothing, number)
sys.stdin.read()
"""


def test_who_reads_what_a_launcher_prints_comes_to_its_end_while_a_warm_spawner_keeps_its_network(
    tmp_path: Path,
) -> None:
    program = tmp_path / "pasta"
    program.write_text("")
    program.chmod(0o755)
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[4])}
    with subprocess.Popen(
        [sys.executable, "-c", LEFT], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as spawner:
        assert spawner.stdout
        ended, *_ = select.select([spawner.stdout], [], [], 30)
        assert ended, "somebody holds it open"
        assert spawner.stdout.read() == b""
        assert spawner.poll() is None
        spawner.communicate()
