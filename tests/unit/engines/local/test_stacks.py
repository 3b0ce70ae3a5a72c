"""Where a task that hangs is, read from what faulthandler wrote."""

from __future__ import annotations

import json as library

from launcher.engines.local.stacks import own_code
from launcher.engines.logs import NoiseFilter

STACKS = f"""\
Thread 0x00007f21 (most recent call first):
  File "{library.__file__}", line 9 in loads
  File "/home/me/train.py", line 12 in dataset

Current thread 0x00007f22 (most recent call first):
  File "/usr/lib/python3/dist-packages/tensorflow/python/eager/execute.py", line 53 in quick_execute
  File "/home/me/train.py", line 30 in train_step
"""
WAITS = f"""\
Current thread 0x00007f22 (most recent call first):
  File "{library.__file__}", line 9 in loads
  File "<frozen runpy>", line 88 in _run_code
  File "<frozen runpy>", line 198 in _run_module_as_main
"""


def test_the_innermost_frame_of_the_job_s_own_code_is_found() -> None:
    assert own_code(f"epoch 3\n{STACKS}") == "train.py:12 (dataset)"


def test_a_task_inside_of_libraries_is_nowhere_in_its_own_code() -> None:
    assert own_code(WAITS) == ""


def test_stacks_are_for_the_log_and_not_for_the_screen() -> None:
    noise = NoiseFilter()
    assert [line for line in f"{STACKS}epoch 4".splitlines() if not noise.is_noise(line)] == ["epoch 4"]


def test_an_exception_s_own_lines_are_shown() -> None:
    assert not NoiseFilter().is_noise('  File "/home/me/train.py", line 12, in dataset')
