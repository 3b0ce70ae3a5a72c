"""The cluster file that tests edit by command."""

from __future__ import annotations

FILE = """\
# ours
mode: sync      # or async
job: hello
cluster:
  worker: {tasks: 3}    # train
  ps: 1
"""
