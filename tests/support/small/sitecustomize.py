"""Python runs this file before anything else: a launcher's task becomes the small program that plays one.

With this folder on PYTHONPATH the launcher, its spawner and its networks are real, and nothing imports TensorFlow.
LAUNCHER_SMALL_TASK holds what the task does, as tests/unit/engines/local/programs/task.py reads it, a word a line.
LAUNCHER_SMALL_PAUSE holds the seconds before every restart; without it they are the launcher's own.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "unit" / "engines" / "local" / "programs" / "task.py"

if "LAUNCHER_TASK" in os.environ:
    sys.argv = [str(PROGRAM), *os.environ["LAUNCHER_SMALL_TASK"].splitlines()]
    runpy.run_path(str(PROGRAM), run_name="__main__")
    os._exit(0)
if "LAUNCHER_SMALL_PAUSE" in os.environ:
    from launcher.supervise import restarts

    setattr(restarts.RestartBudget, "pause", lambda _: float(os.environ["LAUNCHER_SMALL_PAUSE"]))  # noqa: B010
